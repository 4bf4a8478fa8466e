// How configurations look: a colour, a dash and a marker each. The colours are those of Okabe & Ito
// 2008, distinct with every common form of colour blindness. There are seven: where they suffice,
// configurations that differ in numbers alone, such as the depth, share one and differ in their dash.
// Otherwise the eighth configuration has the first colour again, with another dash. Beyond 35, looks
// repeat in any case: again those that differ in numbers share a colour.

const DASHES = ["", "7 3", "9 3 2 3", "3.5 2", "14 4"];
const OVERLAY_DASH = "0.1 4.5"; // with round ends: dots, which no configuration has
const MARKERS = [
  (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0`,
  (r) => `M${-r},${-r}h${2 * r}v${2 * r}h${-2 * r}z`,
  (r) => `M0,${-1.25 * r}L${1.2 * r},${r}H${-1.2 * r}z`,
  (r) => `M0,${-1.35 * r}L${1.35 * r},0L0,${1.35 * r}L${-1.35 * r},0z`,
  (r) => `M0,${1.25 * r}L${1.2 * r},${-r}H${-1.2 * r}z`,
  (r) => `M${-r},${-r}L${r},${r}M${r},${-r}L${-r},${r}`,
  (r) => `M${-1.3 * r},0H${1.3 * r}M0,${-1.3 * r}V${1.3 * r}`,
];
const COLOURS = 7;
const LOOKS = COLOURS * DASHES.length; // that are all different

// By configuration: its colour, and which dash and marker it has among those of that colour.
let looks = [];

function setUpStyles() {
  const isWord = (_, place) => !study.configurations.every(({ values }) => isNumber(values[place]));
  const words = study.configurations.map(({ values }) => values.filter(isWord).join("\n"));
  const families = [...new Set(words)];
  const suffice = families.length <= COLOURS || words.length > LOOKS;
  const grouped = families.length > 1 && suffice;
  const members = families.map(() => 0);
  looks = words.map((family, index) => {
    const place = grouped ? families.indexOf(family) : index;
    const nth = grouped ? members[place]++ : 0;
    return { colour: place % COLOURS, nth: nth + Math.floor(place / COLOURS) };
  });
}

function style(configuration) {
  const { colour, nth } = looks[configuration.index];
  return {
    colour: `var(--series-${colour})`,
    dash: DASHES[nth % DASHES.length],
    marker: MARKERS[(colour + nth) % MARKERS.length],
  };
}

// The line and the marker of a configuration, beside its name.
function swatch(configuration) {
  const { colour, dash, marker } = style(configuration);
  return svg(
    "svg",
    { class: "swatch", width: 24, height: 12, "aria-hidden": "true" },
    svg("path", {
      d: "M0,6H24",
      stroke: colour,
      "stroke-width": 2,
      "stroke-dasharray": dash,
      fill: "none",
    }),
    svg("path", { d: marker(3), transform: "translate(12,6)", fill: colour, stroke: colour }),
  );
}
