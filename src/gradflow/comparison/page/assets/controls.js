// The slider over steps, play, the choice of bands, light and dark.

const FRAME_MS = 200;

function setUpClock() {
  const slider = byId("slider");
  slider.max = study.steps.length - 1;
  slider.addEventListener("input", () => store.set("step", Number(slider.value)));
  byId("back").addEventListener("click", () => stepBy(-1));
  byId("forth").addEventListener("click", () => stepBy(1));
  byId("play").addEventListener("click", togglePlay);
  byId("seeds").addEventListener("change", (event) => store.set("seeds", event.target.value));
  byId("seeds").parentElement.hidden = study.configurations.every(({ runs }) => runs.length === 1);
  const showStep = () => {
    const text = `step ${currentStep()}`;
    slider.value = store.get("step");
    slider.setAttribute("aria-valuetext", text);
    byId("step").textContent = `${text} of ${study.steps[study.steps.length - 1]}`;
  };
  store.on(["step"], showStep);
  showStep();
}

function stepBy(records) {
  store.set("step", Math.min(Math.max(store.get("step") + records, 0), study.steps.length - 1));
}

let timer = null;

function togglePlay() {
  if (timer === null) {
    if (store.get("step") === study.steps.length - 1) store.set("step", 0);
    timer = setInterval(() => {
      stepBy(1);
      if (store.get("step") === study.steps.length - 1) togglePlay();
    }, FRAME_MS);
  } else {
    clearInterval(timer);
    timer = null;
  }
  byId("play").textContent = timer === null ? "Play" : "Pause";
  byId("play").setAttribute("aria-pressed", String(timer !== null));
}

function toggleTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
}
