"""The template: this project's configuration, data, nets and tasks. A fork renames and edits it."""
