// Hold the user's choices, the only state that changes, and notify its listeners.

class Store {
  constructor(values) {
    this.values = values;
    this.listeners = [];
  }

  get(name) {
    return this.values[name];
  }

  // Set one value; call each listener to it once, in the order in which they were added.
  set(name, value) {
    if (this.values[name] === value) return;
    this.values[name] = value;
    for (const [names, listener] of this.listeners) if (names.includes(name)) listener();
  }

  on(names, listener) {
    this.listeners.push([names, listener]);
  }
}
