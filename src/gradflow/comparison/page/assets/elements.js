// Create elements of HTML and SVG. Text is inserted as text, never as markup.

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined),
  );
  return element;
}

const html = (tag, attributes = {}, ...children) =>
  fill(document.createElement(tag), attributes, children);

const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

const byId = (id) => document.getElementById(id);

// A table that scrolls by itself, also by keyboard; screen readers read `label`.
function scrollingTable(label, heads, rows) {
  const titles = heads.map((head) => html("th", { scope: "col" }, head));
  return html(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
    html(
      "table",
      { class: "plain" },
      html("thead", {}, html("tr", {}, titles)),
      html("tbody", {}, rows),
    ),
  );
}

// A labelled choice; calls `onchange` with the value.
function choice(label, options, value, onchange) {
  return html("label", {}, `${label} `, bareChoice(null, options, value, onchange));
}

// A choice without a visible label, since its options explain it; screen readers read `label`.
function bareChoice(label, options, value, onchange) {
  const select = html(
    "select",
    { "aria-label": label, onchange: () => onchange(select.value) },
    options.map(([key, text]) => html("option", { value: key, selected: key === value }, text)),
  );
  return select;
}

function checkbox(label, checked, onchange) {
  const box = html("input", { type: "checkbox", checked, onchange: () => onchange(box.checked) });
  return html("label", {}, box, ` ${label}`);
}

// Fill a panel with a title (text or a choice), controls, a body and a note; return the body.
function panel(id, title, note, controls = []) {
  const head = html(
    "div",
    { class: "head" },
    html("h2", {}, title),
    html("div", { class: "controls" }, controls),
  );
  const body = html("div", { class: "body" });
  byId(id).replaceChildren(head, body, html("p", { class: "note" }, note));
  return body;
}
