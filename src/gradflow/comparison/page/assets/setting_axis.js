// The x axis of a setting: { kind, place(text), spread(nth, count), ticks, text, drop }.
// `spread` is the shift, in pixels, of the nth of `count` configurations that share a value; `drop` is
// the height that slanted labels need, 0 for level ones.

const LOG_FROM = 10; // from this ratio of the largest to the smallest, the axis is logarithmic
const FEW_VALUES = 8; // up to so many, each value of a setting has a tick of its own
const TICK_WIDTH = 28; // pixels
const LONGEST_WORD = 18; // letters

function settingAxis(key, range) {
  const texts = [...new Set(study.runs.map((run) => run.settings[key]).filter(Boolean))];
  return texts.every(isNumber) ? numberAxis(texts.map(Number), range) : wordAxis(texts, range);
}

const isNumber = (text) => text !== "" && Number.isFinite(Number(text));

function numberAxis(values, range) {
  const sorted = [...values].sort((a, b) => a - b);
  const low = sorted[0],
    high = sorted[sorted.length - 1];
  const log = low > 0 && high / low >= LOG_FROM;
  const scale = log ? Math.log10 : Number;
  const unscaled = log ? (value) => 10 ** value : Number;
  const onAxis = linear([scale(low), scale(high)], range);
  const place = (value) => onAxis(scale(Number(value)));
  const gaps = sorted.slice(1).map((value, i) => place(value) - place(sorted[i]));
  const round = ticks([scale(low), scale(high)], 4);
  const decades = log && whole(round).length > 1 ? whole(round) : round;
  return {
    kind: log ? "log" : "linear",
    place,
    spread: spreadOver(0.7 * Math.min(...gaps), 4),
    ticks: sorted.length <= FEW_VALUES ? apart(sorted, place) : decades.map(unscaled),
    text: (value) => number(value, 3),
    drop: 0,
  };
}

function wordAxis(texts, range) {
  const share = (range[1] - range[0]) / texts.length;
  const place = (text) => range[0] + (texts.indexOf(text) + 0.5) * share;
  const short = (text) => shorten(text, LONGEST_WORD);
  const longest = Math.max(...texts.map((text) => short(text).length)) * LETTER;
  return {
    kind: "words",
    place,
    spread: spreadOver(0.75 * share, 14),
    ticks: texts,
    text: short,
    drop: longest > share - 4 ? longest * Math.SQRT1_2 : 0,
  };
}

function spreadOver(room, most) {
  return (nth, count) => (nth - (count - 1) / 2) * Math.min(most, room / count);
}

// Leave out the values whose labels would touch the one before.
function apart(values, place) {
  const kept = [];
  for (const value of values) {
    if (!kept.length || place(value) - place(kept[kept.length - 1]) >= TICK_WIDTH) kept.push(value);
  }
  return kept;
}
