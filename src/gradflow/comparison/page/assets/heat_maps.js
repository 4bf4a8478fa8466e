// Gradient-flow pictures: layers down, steps across, colour the size of dL/dz, on one fixed scale.

class HeatMaps {
  constructor(id) {
    this.each = false;
    this.body = panel(
      id,
      "Gradient flow",
      "Layers down, input at the top; steps across. The line marks the slider's step. Each record's column extends to the next record.",
      [
        choice(
          "show",
          [
            ["first", "one run per configuration"],
            ["every", "every run"],
          ],
          "first",
          (value) => {
            this.each = value === "every";
            this.draw();
          },
        ),
      ],
    );
    this.stops = study.colours.stops.map(rgb);
    store.on(["selected", "width"], () => this.draw());
    store.on(["step"], () => this.moveCursors());
  }

  runs() {
    const selected = store.get("selected");
    return study.configurations.flatMap(({ runs }) => {
      const recorded = runs.filter((run) => selected.has(run.index) && run.profiles[GRADIENT]);
      return this.each ? recorded : recorded.slice(0, 1);
    });
  }

  draw() {
    const runs = this.runs();
    this.last = Math.max(...study.steps, 1);
    this.maps = runs.map((run) => ({
      run,
      end: this.last + lastGap(run),
      canvas: html("canvas", { width: 360, height: 180 }),
      line: html("i", { class: "cursor-line" }),
    }));
    const figures = this.maps.map((map) => this.figure(map));
    this.body.replaceChildren(this.scale(), html("div", { class: "maps" }, figures));
    if (!runs.length)
      this.body.append(html("p", { class: "empty" }, "no gradient record in the selected runs"));
    for (const map of this.maps) this.paint(map);
    this.moveCursors();
  }

  figure(map) {
    const { run, canvas, line } = map;
    const configuration = study.configurations[run.configuration];
    const several = this.each && configuration.runs.length > 1;
    const layers = study.layers(run, GRADIENT).length;
    const box = html(
      "div",
      {
        class: "map",
        role: "img",
        "data-run": run.index,
        "aria-label": `Gradient flow of ${configuration.label}${several ? `, seed ${run.seed}` : ""}`,
        onpointermove: (event) => this.hover(event, map),
        onpointerleave: () => {
          hideTooltip();
          store.set("lit", null);
        },
        onclick: (event) => this.jump(event, map),
      },
      canvas,
      line,
    );
    return html(
      "figure",
      { "data-configuration": configuration.index },
      html(
        "figcaption",
        { title: configuration.label },
        swatch(configuration),
        html(
          "span",
          { class: "text" },
          `${configuration.label}${several ? `, seed ${run.seed}` : ""}`,
        ),
      ),
      html(
        "div",
        { class: "with-axes" },
        html("span", { class: "axis y" }, html("span", {}, "1"), html("span", {}, String(layers))),
        box,
        html(
          "span",
          { class: "axis x" },
          html("span", {}, "0"),
          html("span", {}, `step ${this.last}`),
        ),
      ),
    );
  }

  paint({ run, canvas, end }) {
    const context = canvas.getContext("2d");
    const n = study.layers(run, GRADIENT).length;
    const { records } = run;
    const x = (step) => (step / end) * canvas.width;
    const gap = lastGap(run);
    for (let record = 0; record < records.length; record++) {
      const left = Math.round(x(records[record]));
      const right = Math.round(
        x(record + 1 < records.length ? records[record + 1] : records[record] + gap),
      );
      const values = study.profile(run, GRADIENT, record);
      for (let layer = 0; layer < n; layer++) {
        const colour = this.colour(values[layer]);
        if (!colour) continue;
        context.fillStyle = colour;
        const top = Math.round((layer / n) * canvas.height);
        context.fillRect(
          left,
          top,
          Math.max(right - left, 1),
          Math.round(((layer + 1) / n) * canvas.height) - top,
        );
      }
    }
  }

  colour(value) {
    const { lowest, highest, zero, notFinite } = study.colours;
    if (value === null) return null;
    if (value === -Infinity) return zero;
    if (!Number.isFinite(value)) return notFinite;
    const at =
      ((Math.min(Math.max(value, lowest), highest) - lowest) / (highest - lowest)) *
      (this.stops.length - 1);
    const i = Math.min(Math.floor(at), this.stops.length - 2);
    const mixed = this.stops[i].map((a, c) =>
      Math.round(a + (at - i) * (this.stops[i + 1][c] - a)),
    );
    return `rgb(${mixed.join(" ")})`;
  }

  scale() {
    const { lowest, highest, stops, zero, notFinite } = study.colours;
    return html(
      "div",
      { class: "scale" },
      html("span", {}, "10", html("sup", {}, number(lowest))),
      html("i", { style: `background:linear-gradient(to right, ${stops.join(", ")})` }),
      html("span", {}, "10", html("sup", {}, number(highest))),
      html("span", { class: "unit" }, "RMS of dL/dz"),
      html("b", { style: `background:${zero}` }),
      html("span", {}, "exactly 0"),
      html("b", { style: `background:${notFinite}` }),
      html("span", {}, "NaN or Inf"),
      html("b", { class: "missing" }),
      html("span", {}, "no record"),
    );
  }

  moveCursors() {
    for (const { line, end } of this.maps ?? [])
      line.style.left = `${(100 * currentStep()) / end}%`;
  }

  stepAt(event, { canvas, end }) {
    const box = canvas.getBoundingClientRect();
    return {
      step: ((event.clientX - box.left) / box.width) * end,
      down: (event.clientY - box.top) / box.height,
    };
  }

  hover(event, map) {
    const { run } = map;
    const { step, down } = this.stepAt(event, map);
    const record = study.recordAt(run, step);
    const layers = study.layers(run, GRADIENT);
    const layer = Math.min(Math.max(Math.floor(down * layers.length), 0), layers.length - 1);
    if (record < 0) return;
    store.set("lit", run.configuration);
    showTooltip(event, [
      study.configurations[run.configuration].label,
      `step ${run.records[record]}, layer ${layer + 1}: ${layers[layer]}`,
      `log10 RMS of dL/dz: ${decades(study.profile(run, GRADIENT, record)[layer])}`,
    ]);
  }

  jump(event, map) {
    const { step } = this.stepAt(event, map);
    const at = study.steps.findLastIndex((s) => s <= step);
    if (at >= 0) store.set("step", at);
  }
}

// A record's column extends to the next record; the last column is as wide as the one before it.
function lastGap({ records }) {
  return records.length > 1 ? records[records.length - 1] - records[records.length - 2] : 1;
}

function rgb(hex) {
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
}
