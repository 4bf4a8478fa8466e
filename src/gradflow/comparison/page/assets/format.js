// Format numbers, and compute the few statistics of the page.

const MINUS = "−";

function number(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : `${MINUS}∞`;
  const size = Math.abs(value);
  const text =
    value !== 0 && (size < 1e-3 || size >= 1e5)
      ? value.toExponential(Math.max(digits - 1, 0))
      : String(Number(value.toPrecision(digits)));
  return text.replace(/-/g, MINUS);
}

function fixed(value, digits) {
  return Number.isFinite(value) ? value.toFixed(digits).replace("-", MINUS) : number(value);
}

function signed(value, digits) {
  return value >= 0 && Number.isFinite(value) ? `+${fixed(value, digits)}` : fixed(value, digits);
}

// Format decades of a profile. Exactly 0 and non-finite values get words, not numbers.
function decades(value) {
  if (value === null) return "not measured";
  if (value === -Infinity) return "exactly 0";
  return Number.isFinite(value) ? fixed(value, 2) : "NaN or Inf";
}

function share(part, whole) {
  if (!part) return "0";
  const percent = (100 * part) / whole;
  return percent < 0.1 ? "<0.1 %" : `${percent >= 10 ? percent.toFixed(0) : percent.toFixed(1)} %`;
}

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

// The sample standard deviation, with n - 1; 0 for a single value.
function deviation(values) {
  if (values.length < 2) return 0;
  const centre = mean(values);
  return Math.sqrt(values.reduce((sum, v) => sum + (v - centre) ** 2, 0) / (values.length - 1));
}

// Mean and standard deviation as the children of a table cell.
function meanAndDeviation(values, digits, sign = false) {
  const known = values.filter((value) => !Number.isNaN(value) && value !== undefined);
  if (!known.length) return ["–"];
  const text = (sign ? signed : fixed)(mean(known), digits);
  const spread = known.length > 1 && known.every(Number.isFinite);
  return [
    text,
    spread ? html("span", { class: "spread" }, `± ${fixed(deviation(known), digits)}`) : null,
  ];
}
