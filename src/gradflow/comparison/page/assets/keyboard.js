// Shortcuts, and the dialog that lists them.

const SHORTCUTS = [
  ["←", "on the slider: one record back"],
  ["→", "on the slider: one record on"],
  [",", "one record back, from anywhere", () => stepBy(-1)],
  [".", "one record on, from anywhere", () => stepBy(1)],
  ["p", "play or pause", togglePlay],
  ["/", "filter runs", () => byId("filter").focus()],
  ["a", "show all listed runs", () => byId("all").click()],
  ["n", "hide all listed runs", () => byId("none").click()],
  ["l", "logarithmic curves", () => plots.curves.forEach((curves) => curves.toggleLog())],
  ["t", "light or dark", toggleTheme],
  ["?", "this list", () => byId("help").showModal()],
];

function setUpKeyboard() {
  byId("theme").addEventListener("click", toggleTheme);
  byId("help-button").addEventListener("click", () => byId("help").showModal());
  byId("help").append(
    html("h2", { id: "help-title" }, "Keyboard"),
    html(
      "dl",
      {},
      SHORTCUTS.map(([key, text]) => [html("dt", {}, html("kbd", {}, key)), html("dd", {}, text)]),
    ),
    html(
      "p",
      {},
      "Tab moves through all controls; space shows or hides a run. A focused row is highlighted in all plots, with its values below them.",
    ),
    html("form", { method: "dialog" }, html("button", {}, "Close")),
  );
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches?.("input[type=search], select, textarea");
    if (event.key === "Escape" && typing) event.target.blur();
    if (typing || event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
    const action = SHORTCUTS.find(([key]) => key === event.key)?.[2];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
