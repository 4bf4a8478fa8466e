// What a person has chosen, and who wants to know of it. The only state that changes.

class Store {
  constructor(values) {
    this.values = values;
    this.listeners = [];
  }

  get(name) {
    return this.values[name];
  }

  // Set one value; those who asked for it by name are told once, in the order in which they asked.
  set(name, value) {
    if (this.values[name] === value) return;
    this.values[name] = value;
    for (const [names, listener] of this.listeners) if (names.includes(name)) listener();
  }

  on(names, listener) {
    this.listeners.push([names, listener]);
  }
}
