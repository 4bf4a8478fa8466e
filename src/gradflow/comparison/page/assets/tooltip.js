// One box of lines beside the pointer.

function showTooltip(event, lines) {
  const box = byId("tooltip");
  box.replaceChildren(...lines.map((line, i) => html(i ? "div" : "strong", {}, line)));
  box.hidden = false;
  const { width, height } = box.getBoundingClientRect();
  const left =
    event.clientX + 14 + width > innerWidth ? event.clientX - 14 - width : event.clientX + 14;
  const top = Math.min(event.clientY + 14, innerHeight - height - 6);
  box.style.transform = `translate(${Math.max(left, 4)}px, ${Math.max(top, 4)}px)`;
}

function hideTooltip() {
  byId("tooltip").hidden = true;
}
