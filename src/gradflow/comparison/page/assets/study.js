// The study's data for the plots: runs, configurations, curves, profiles and histograms at a step.
// It knows the packed document (pack.py), but neither the selection nor the plots.

class Study {
  constructor(document, read) {
    Object.assign(this, document);
    const arrays = (value) => {
      if (Array.isArray(value) || value === null || typeof value !== "object") return value;
      if ("type" in value && "at" in value) return read(value);
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, arrays(v)]));
    };
    this.runs = document.runs.map((run, index) => ({
      ...run,
      index,
      records: read(run.records),
      curves: arrays(run.curves),
      profiles: arrays(run.profiles),
      histograms: arrays(run.histograms),
      metrics: Object.fromEntries(Object.entries(run.metrics).map(([k, v]) => [k, Number(v)])),
    }));
    this.configurations = document.configurations.map((configuration, index) => ({
      ...configuration,
      index,
      overlays: configuration.overlays.map(arrays),
      runs: this.runs.filter((run) => run.configuration === index),
    }));
    for (const configuration of this.configurations) {
      // Without a readable configuration, only the first value is known: the run's folder.
      const known = configuration.runs.some((run) => Object.keys(run.settings).length);
      configuration.label = (known ? configuration.values : configuration.values.slice(0, 1)).join(
        ", ",
      );
    }
    for (const quantity of [...document.baselines, document.objective].filter(Boolean)) {
      const read = (value) => (value === null ? null : Number(value));
      quantity.runs = quantity.runs.map(read);
      quantity.figures = quantity.figures.map(([n, ...pair]) => {
        const [centre, half] = pair.map(read);
        return { n, mean: centre, half };
      });
    }
    this.steps = [...new Set(this.runs.flatMap((run) => [...run.records]))].sort((a, b) => a - b);
    if (!this.steps.length) this.steps = [0];
    this.metrics = [...new Set(this.runs.flatMap((run) => Object.keys(run.curves)))];
    for (const run of this.runs) run.curves[FIRST_OVER_LAST] = this.firstOverLastCurve(run);
    if (this.runs.some((run) => run.curves[FIRST_OVER_LAST].steps.length)) {
      this.metrics.push(FIRST_OVER_LAST);
    }
    this.kinds = [...new Set(this.runs.flatMap((run) => Object.keys(run.histograms)))];
  }

  // The latest record of a run at or before a step; -1 before the first one.
  recordAt(run, step) {
    let low = 0,
      high = run.records.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (run.records[middle] <= step) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  layers(run, kind) {
    return run.profiles[kind] ? this.names[run.profiles[kind].names] : [];
  }

  // Decades by layer: -Infinity for exactly 0, NaN for NaN and Inf, null if not measured.
  profile(run, kind, record) {
    const profile = run.profiles[kind];
    if (!profile || record < 0) return [];
    const n = this.names[profile.names].length;
    return Array.from(profile.values.subarray(record * n, (record + 1) * n), (v) => this.decade(v));
  }

  // The line of the overlay at a place for a configuration; empty without a line.
  overlay(configuration, place, kind) {
    const values = configuration.overlays[place][kind];
    return values ? Array.from(values, (v) => this.decade(v)) : [];
  }

  // [[low, high]] by layer; empty without a band.
  overlayBand(configuration, place, kind) {
    const band = configuration.overlays[place][`${kind}_band`];
    if (!band) return [];
    return Array.from(band.low, (low, i) => [this.decade(low), this.decade(band.high[i])]);
  }

  decade(value) {
    if (value === this.decades.zero) return -Infinity;
    if (value === this.decades.notFinite) return NaN;
    if (value === this.decades.missing) return null;
    return value / this.decades.per;
  }

  tensors(run, kind) {
    return run.histograms[kind] ? this.names[run.histograms[kind].names] : [];
  }

  // One tensor's histogram; null if it was not counted in that record.
  histogram(run, kind, tensor, record) {
    const packed = run.histograms[kind];
    const place = packed && record >= 0 ? this.names[packed.names].indexOf(tensor) : -1;
    if (place < 0) return null;
    const at = place * run.records.length + record;
    const found = {
      first: packed.first,
      levels: packed.levels.subarray(at * packed.bins, (at + 1) * packed.bins),
      peak: packed.peaks[at],
      elements: packed.elements[place],
      zeros: packed.zeros[at],
      subnormals: packed.subnormals[at],
      nans: packed.nans[at],
      infs: packed.infs[at],
    };
    return found.peak + found.zeros + found.subnormals + found.nans + found.infs ? found : null;
  }

  // The exponents that a tensor's histograms fill in any record of a run: [first, end).
  filled(run, kind, tensor) {
    const packed = run.histograms[kind];
    const place = packed ? this.names[packed.names].indexOf(tensor) : -1;
    if (place < 0) return null;
    const n = run.records.length;
    const levels = packed.levels.subarray(place * n * packed.bins, (place + 1) * n * packed.bins);
    let first = packed.bins,
      last = -1;
    for (let at = 0; at < levels.length; at++) {
      if (!levels[at]) continue;
      const bin = at % packed.bins;
      if (bin < first) first = bin;
      if (bin > last) last = bin;
    }
    return last < 0 ? null : [packed.first + first, packed.first + last + 1];
  }

  // Decades of dL/dz from the last nonlinearity to the first: below 0 where it shrinks.
  firstOverLast(run, record) {
    const profile = this.profile(run, GRADIENT, record);
    return profile.length < 3 ? NaN : difference(profile[0], profile[profile.length - 2]);
  }

  firstOverLastCurve(run) {
    const values = Array.from(run.records, (_, record) => this.firstOverLast(run, record));
    const kept = values.map((_, i) => i).filter((i) => Number.isFinite(values[i]));
    return {
      steps: kept.map((i) => run.records[i]),
      values: kept.map((i) => values[i]),
      logged: kept.length,
    };
  }

  // The same before the first step, for the table.
  start(run) {
    return run.records[0] === 0 ? this.firstOverLast(run, 0) : NaN;
  }
}

const GRADIENT = "pre_activation_gradient";
const Z = "pre_activation";
const FIRST_OVER_LAST = "dL/dz, first over last";

function difference(a, b) {
  return a === null || b === null ? NaN : a - b;
}
