// Draw lines on one pair of axes, with bands, marks at the edges, a cursor and a tooltip.
// It draws curves and profiles. It knows series, but not where they come from.
//
// A series: { configuration, runs, points: [[x, y]], band: [[x, low, high]] or none, overlay,
// zeros: [x] (exactly 0), bad: [x] (non-finite), faint }.

class LinePlot {
  constructor(body, { label, height = 270, xLabel, markers = false, readOut, describe }) {
    Object.assign(this, { body, height, xLabel, markers, readOut, describe });
    this.svg = svg("svg", { class: "plot", role: "img", "aria-label": label, height });
    this.line = html("p", { class: "readout" });
    body.append(this.svg, this.line);
    this.svg.addEventListener("pointermove", (event) => this.hover(event));
    this.svg.addEventListener("pointerleave", () => this.leave());
  }

  // spec: { series, xDomain, yDomain, yLabel, log, cursor, wholeX, xText }
  draw(spec) {
    this.spec = spec;
    const width = Math.max(this.body.clientWidth, 240),
      height = this.height;
    const margin = { left: 56, right: 12, top: 12, bottom: 36 };
    this.x = linear(spec.xDomain, [margin.left + 6, width - margin.right - 6]);
    const position = linear(spec.yDomain, [height - margin.bottom, margin.top]);
    this.y = spec.log ? (value) => position(Math.log10(value)) : position;
    const edges = { top: margin.top + 5, bottom: height - margin.bottom - 5 };
    let yTicks = ticks(spec.yDomain, 5);
    if (spec.log && yTicks.filter(Number.isInteger).length > 1) yTicks = whole(yTicks);
    const xTicks = ticks(spec.xDomain, Math.min(8, width / 70));
    this.bandOpacity = Math.min(0.16, 0.6 / spec.series.length);
    this.cursor = svg("path", { class: "cursor", d: `M0,${margin.top}V${height - margin.bottom}` });
    this.svg.setAttribute("width", width);
    this.svg.replaceChildren(
      frame({
        width,
        height,
        margin,
        x: this.x,
        y: position,
        xTicks: whole(xTicks),
        yTicks,
        xLabel: this.xLabel,
        yLabel: spec.yLabel,
        yText: spec.log ? (value) => number(10 ** value, 2) : number,
      }),
      this.cursor,
      ...spec.series.map((series) => this.one(series, edges)),
    );
    if (!spec.series.length) {
      this.svg.append(
        svg(
          "text",
          { x: width / 2, y: height / 2, class: "empty middle" },
          "no data in the selected runs",
        ),
      );
    }
    this.moveCursor(spec.cursor);
  }

  // Move the cursor to the slider's place on the x axis; hide it without one.
  moveCursor(at) {
    this.cursor.setAttribute("visibility", at === undefined ? "hidden" : "visible");
    if (at !== undefined) this.cursor.setAttribute("transform", `translate(${this.x(at)},0)`);
    this.say();
  }

  one(series, edges) {
    const { colour, dash, marker } = style(series.configuration);
    const { x, y } = this;
    const g = svg("g", {
      class: `series${series.overlay ? " overlay" : ""}${series.faint ? " faint" : ""}`,
      "data-configuration": series.configuration.index,
      "data-runs": series.runs.map((run) => run.index).join(" "),
      "data-values": series.points.map(([, value]) => value).join(" "),
    });
    if (series.band && series.band.length > 1) {
      const upper = series.band.map(([a, , high]) => `${x(a)},${y(high)}`);
      const lower = series.band.map(([a, low]) => `${x(a)},${y(low)}`).reverse();
      g.append(
        svg("path", {
          class: "band",
          d: `M${upper.join("L")}L${lower.join("L")}z`,
          fill: colour,
          "fill-opacity": this.bandOpacity,
        }),
      );
    }
    let d = "",
      pen = "M";
    for (const [a, value] of series.points) {
      if (!Number.isFinite(value)) {
        pen = "M";
        continue;
      }
      d += `${pen}${x(a).toFixed(1)},${y(value).toFixed(1)}`;
      pen = "L";
    }
    g.append(
      svg("path", {
        class: "line",
        d,
        stroke: colour,
        "stroke-dasharray": series.overlay ? OVERLAY_DASH : dash,
      }),
    );
    const known = series.points.filter(([, value]) => Number.isFinite(value));
    if ((this.markers && !series.overlay) || known.length === 1) {
      const all = known.map(([a, value]) => `translate(${x(a).toFixed(1)},${y(value).toFixed(1)})`);
      g.append(
        ...all.map((transform) =>
          svg("path", { class: "marker", d: marker(2.4), transform, fill: colour, stroke: colour }),
        ),
      );
    }
    for (const a of series.zeros ?? []) {
      g.append(
        svg(
          "path",
          { class: "zero", d: `M${x(a) - 4},${edges.bottom - 7}h8l-4,7z`, fill: colour },
          svg("title", {}, "exactly 0"),
        ),
      );
    }
    for (const a of series.bad ?? []) {
      g.append(
        svg(
          "text",
          { class: "bad middle", x: x(a), y: edges.top + 5, fill: colour },
          "!",
          svg("title", {}, "NaN or Inf"),
        ),
      );
    }
    return g;
  }

  hover(event) {
    const box = this.svg.getBoundingClientRect();
    const px = event.clientX - box.left,
      py = event.clientY - box.top;
    let best = null;
    for (const series of this.spec?.series ?? []) {
      for (const [a, value] of series.points) {
        if (!Number.isFinite(value)) continue;
        const distance = Math.hypot(this.x(a) - px, this.y(value) - py);
        if (!best || distance < best.distance) best = { series, at: a, value, distance };
      }
    }
    if (!best || best.distance > 40) return this.leave();
    store.set("lit", best.series.configuration.index);
    showTooltip(event, this.describe(best.series, best.at, best.value));
  }

  leave() {
    store.set("lit", null);
    hideTooltip();
  }

  // Write the highlighted configuration's values below the plot; the keyboard highlights by row.
  say() {
    const lit = store.get("lit");
    const series = (this.spec?.series ?? []).filter((s) => s.configuration.index === lit);
    this.line.textContent = series.length ? this.readOut(series[0]) : " ";
  }
}
