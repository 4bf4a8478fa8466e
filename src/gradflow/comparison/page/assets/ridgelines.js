// Histograms as ridgelines on the shared log2 bins, at the slider's step: one tensor across runs, or
// one run across its tensors. The counts outside the bins are beside each row.
//
// Overlaid, all histograms stand on one base line, and the rows that are left are their legend.
//
// A row: { key, label, configuration, members: [{ run, tensor }] }; members are drawn over each other.

const KINDS = { gradient: "dL/dw", weight: "w", pre_activation: "z", activation: "activation" };


class Ridgelines {
  constructor(body, label) {
    this.body = body;
    this.overlaid = false;
    this.svg = svg("svg", { class: "plot ridges", role: "img", "aria-label": label });
    body.append(this.svg);
    this.svg.addEventListener("pointermove", (event) => this.hover(event));
    this.svg.addEventListener("pointerleave", () => {
      store.set("lit", null);
      hideTooltip();
    });
  }

  // The axis covers the bins filled at any step, so that it stands still while the slider moves.
  setRows(rows, kind) {
    this.rows = rows;
    this.kind = kind;
    const ranges = rows
      .flatMap(({ members }) => members.map(({ run, tensor }) => study.filled(run, kind, tensor)))
      .filter(Boolean);
    this.domain = ranges.length
      ? [Math.min(...ranges.map(([a]) => a)) - 1, Math.max(...ranges.map(([, b]) => b)) + 1]
      : [-30, 0];
  }

  draw() {
    const step = currentStep();
    const width = Math.max(this.body.clientWidth, 300);
    const longest = Math.max(...this.rows.map(({ label }) => label.length), 4);
    const left = Math.min(longest * LETTER + 14, width * 0.36),
      right = width - 112,
      top = 34;
    const pitch = this.rows.length > 40 ? 15 : this.rows.length > 16 ? 20 : 30;
    const overlap = 1.5;
    const bottom = top + pitch * overlap + pitch * Math.max(this.rows.length - 1, 0);
    this.geometry = { top, pitch, overlap };
    const x = linear(this.domain, [left, right]);
    this.histograms = this.rows.map((row) =>
      row.members.map(({ run, tensor }) => {
        const record = study.recordAt(run, step);
        return { run, record, histogram: study.histogram(run, this.kind, tensor, record) };
      }),
    );
    // The tallest ridge has the full height; the areas of all rows are on one scale.
    const tallest = Math.max(
      ...this.histograms.flat().map(({ histogram: h }) => (h ? Math.sqrt(h.peak / h.elements) : 0)),
      1e-9,
    );
    const scale = (this.overlaid ? bottom - top - 8 : pitch * overlap - 2) / tallest;
    this.svg.setAttribute("width", width);
    this.svg.setAttribute("height", bottom + 34);
    this.svg.dataset.step = step;
    this.svg.replaceChildren(
      this.axis(x, left, right, top, bottom),
      ...this.rows.map((row, i) =>
        this.row(row, this.histograms[i], {
          x,
          left,
          right,
          width,
          base: top + pitch * overlap + pitch * i,
          foot: this.overlaid ? bottom : top + pitch * overlap + pitch * i,
          scale,
        }),
      ),
    );
    if (!this.rows.length)
      this.svg.append(
        svg("text", { x: width / 2, y: 30, class: "empty middle" }, "no data in the selected runs"),
      );
  }

  axis(x, left, right, top, bottom) {
    const [a, b] = this.domain;
    const exponents = whole(ticks([a, b], Math.max((right - left) / 42, 2)));
    const tens = whole(
      ticks(
        [a * Math.LOG10E * Math.LN2, b * Math.LOG10E * Math.LN2],
        Math.max((right - left) / 60, 2),
      ),
    );
    const ten = (value) => x(value / (Math.LOG10E * Math.LN2));
    return svg(
      "g",
      { class: "frame", "aria-hidden": "true" },
      exponents.map((e) => [
        svg("path", { class: "grid", d: `M${x(e)},${top}V${bottom}` }),
        power(x(e), bottom + 15, 2, e),
      ]),
      tens.map((d) => [
        svg("path", { class: "mark", d: `M${ten(d)},${top - 4}v4` }),
        power(ten(d), top - 8, 10, d),
      ]),
      svg("path", { class: "mark", d: `M${left},${bottom}H${right}M${left},${top}H${right}` }),
      svg(
        "text",
        { x: (left + right) / 2, y: bottom + 31, class: "name middle" },
        `|${KINDS[this.kind]}|`,
      ),
      svg("text", { x: right + 46, y: top - 8, class: "name end" }, "zeros"),
      svg("text", { x: right + 108, y: top - 8, class: "name end" }, "non-finite"),
    );
  }

  row(row, members, { x, left, right, base, foot, scale }) {
    const colour = style(row.configuration).colour;
    const g = svg("g", {
      class: "ridge",
      "data-configuration": row.configuration.index,
      "data-key": row.key,
    });
    g.append(svg("path", { class: "base", d: `M${left},${foot}H${right}` }));
    for (const { run, record, histogram: h } of members) {
      if (!h) continue;
      const height = (level) => (level / study.levels) * Math.sqrt(h.peak / h.elements) * scale;
      let d = "",
        outline = "";
      for (let bin = 0; bin < h.levels.length; bin++) {
        if (!h.levels[bin]) continue;
        const x0 = x(h.first + bin).toFixed(1),
          x1 = x(h.first + bin + 1).toFixed(1),
          y = (foot - height(h.levels[bin])).toFixed(1);
        const joined = bin > 0 && h.levels[bin - 1] > 0;
        outline += joined ? `V${y}H${x1}` : `${d ? `V${foot}` : ""}M${x0},${foot}V${y}H${x1}`;
        d += "x";
      }
      if (outline) outline += `V${foot}`;
      g.append(
        svg("path", {
          class: "hill",
          d: outline,
          fill: colour,
          stroke: colour,
          "data-run": run.index,
          "data-record-step": run.records[record],
          "data-first": h.first,
          "data-levels": h.levels.join(" "),
          "data-peak": h.peak,
          "data-elements": h.elements,
          "data-zeros": h.zeros,
          "data-subnormals": h.subnormals,
          "data-nans": h.nans,
          "data-infs": h.infs,
          "fill-opacity": (this.overlaid ? 0.12 : 0.3) / Math.sqrt(members.length),
        }),
      );
    }
    const known = members.map(({ histogram }) => histogram).filter(Boolean);
    const total = (count) => known.reduce((sum, h) => sum + count(h), 0);
    const elements = total((h) => h.elements);
    const zeros = total((h) => h.zeros + h.subnormals),
      bad = total((h) => h.nans + h.infs);
    g.append(
      svg(
        "text",
        {
          x: left - 8,
          y: base - 3,
          class: "label end",
          ...(this.overlaid ? { style: `fill: ${colour}` } : {}),
        },
        shorten(row.label, (left - 14) / LETTER),
        svg("title", {}, row.label),
      ),
      svg(
        "text",
        { x: right + 46, y: base - 3, class: `tick end${zeros ? " some" : ""}` },
        known.length ? share(zeros, elements) : "–",
      ),
      svg(
        "text",
        { x: right + 108, y: base - 3, class: `tick end${bad ? " alarm" : ""}` },
        known.length ? share(bad, elements) : "–",
      ),
    );
    return g;
  }

  hover(event) {
    const box = this.svg.getBoundingClientRect();
    const { top, pitch, overlap } = this.geometry;
    const key = event.target.closest(".ridge")?.dataset.key;
    const i = this.overlaid
      ? this.rows.findIndex((row) => row.key === key)
      : Math.round((event.clientY - box.top - top - pitch * overlap) / pitch + 0.3);
    const row = this.rows[i];
    if (!row) return hideTooltip();
    store.set("lit", row.configuration.index);
    const lines = this.histograms[i].slice(0, 6).map(({ run, record, histogram: h }) => {
      const which = row.members.length > 1 ? `seed ${run.seed}: ` : "";
      if (!h) return `${which}not counted`;
      const outside = [
        ["exactly 0", h.zeros],
        ["subnormal", h.subnormals],
        ["NaN", h.nans],
        ["Inf", h.infs],
      ]
        .filter(([, n]) => n)
        .map(([word, n]) => `${n} ${word}`);
      return `${which}step ${run.records[record]}: ${h.elements} elements${outside.length ? `, of them ${outside.join(", ")}` : ", all within the bins"}`;
    });
    showTooltip(event, [row.label, ...lines]);
  }
}

function power(x, y, base, exponent) {
  return svg(
    "text",
    { x, y, class: "tick middle" },
    String(base),
    svg("tspan", { dy: -4, "font-size": "80%" }, String(exponent).replace("-", MINUS)),
  );
}

// Cut off the start of a name: its end tells more.
function shorten(text, letters) {
  return text.length <= letters ? text : `…${text.slice(1 - Math.floor(letters))}`;
}

const RIDGE_NOTE = () =>
  `Height: square root of the share of elements, in ${study.levels} levels of each histogram's tallest bin, on one scale for all rows. Zeros (with subnormals) and NaN or Inf are exact counts. The axis covers all steps.`;

const kindChoice = (value, onchange) =>
  study.kinds.length > 1
    ? choice(
        "of",
        study.kinds.map((kind) => [kind, KINDS[kind] ?? kind]),
        value,
        onchange,
      )
    : null;

class RidgesAcrossRuns {
  constructor(id) {
    this.kind = study.kinds[0];
    this.overlaid = false;
    this.id = id;
    this.setUp();
    store.on(["selected"], () => this.update());
    store.on(["step", "width"], () => this.ridges.draw());
  }

  setUp() {
    const tensors = [...new Set(study.runs.flatMap((run) => study.tensors(run, this.kind)))];
    if (!tensors.includes(this.tensor)) this.tensor = tensors[0];
    const body = panel(this.id, "Histograms across runs", RIDGE_NOTE(), [
      kindChoice(this.kind, (kind) => {
        this.kind = kind;
        this.setUp();
        this.update();
      }),
      choice(
        "tensor",
        tensors.map((tensor) => [tensor, tensor]),
        this.tensor,
        (tensor) => {
          this.tensor = tensor;
          this.update();
        },
      ),
      checkbox("overlaid", this.overlaid, (on) => {
        this.overlaid = on;
        this.update();
      }),
    ]);
    this.ridges = new Ridgelines(body, "Histograms of one tensor, a row for each configuration");
  }

  update() {
    const selected = store.get("selected");
    const rows = study.configurations
      .map((configuration) => ({
        key: String(configuration.index),
        label: configuration.label,
        configuration,
        members: configuration.runs
          .filter(
            (run) => selected.has(run.index) && study.tensors(run, this.kind).includes(this.tensor),
          )
          .map((run) => ({ run, tensor: this.tensor })),
      }))
      .filter(({ members }) => members.length);
    this.ridges.overlaid = this.overlaid;
    this.ridges.setRows(rows, this.kind);
    this.ridges.draw();
  }
}

class RidgesAcrossLayers {
  constructor(id) {
    this.id = id;
    this.kind = study.kinds[0];
    this.weights = true;
    this.setUp();
    store.on(["selected"], () => {
      this.setUp();
      this.update();
    });
    store.on(["step", "width"], () => this.ridges.draw());
  }

  setUp() {
    const selected = store.get("selected");
    const runs = study.runs.filter(
      (run) => selected.has(run.index) && study.tensors(run, this.kind).length,
    );
    if (!runs.includes(this.run)) this.run = runs[0];
    const body = panel(this.id, "Histograms across layers", RIDGE_NOTE(), [
      kindChoice(this.kind, (kind) => {
        this.kind = kind;
        this.setUp();
        this.update();
      }),
      choice(
        "run",
        runs.map((run) => [String(run.index), runLabel(run)]),
        String(this.run?.index),
        (index) => {
          this.run = study.runs[index];
          this.update();
        },
      ),
      checkbox("weights only", this.weights, (on) => {
        this.weights = on;
        this.update();
      }),
    ]);
    this.ridges = new Ridgelines(body, "Histograms of one run, a row for each tensor");
  }

  update() {
    const tensors = this.run ? study.tensors(this.run, this.kind) : [];
    const weights = tensors.filter((_, i) => this.run.histograms[this.kind].weights[i]);
    const rows = (this.weights && weights.length ? weights : tensors).map((tensor) => ({
      key: tensor,
      label: tensor,
      configuration: study.configurations[this.run.configuration],
      members: [{ run: this.run, tensor }],
    }));
    this.ridges.setRows(rows, this.kind);
    this.ridges.draw();
  }
}

function runLabel(run) {
  const configuration = study.configurations[run.configuration];
  return configuration.runs.length > 1
    ? `${configuration.label}, seed ${run.seed}`
    : configuration.label;
}
