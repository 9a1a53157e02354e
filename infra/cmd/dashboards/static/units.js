// The units of the dashboards by Grafana's ids. A test holds that there's one for each that a panel has.

const scaled = (value, steps, base) => {
  let i = 0;
  while (Math.abs(value) >= base && i < steps.length - 1) { value /= base; i++; }
  return [value, steps[i]];
};

// digits keeps three that count, so that 0.00123 and 1234 are both legible.
const digits = (value) => {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return trim(value.toFixed(1));
  if (size >= 1) return trim(value.toFixed(2));
  return trim(value.toPrecision(2).replace(/e.*$/, (e) => e));
};

const trim = (text) => text.includes("e") ? text : text.replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");

const short = (value) => scaled(value, ["", " K", " Mil", " Bil"], 1000);
const joined = ([value, unit]) => digits(value) + unit;

const seconds = (value) => {
  const size = Math.abs(value);
  if (size === 0) return "0 s";
  if (size < 1e-3) return digits(value * 1e6) + " µs";
  if (size < 1) return digits(value * 1e3) + " ms";
  if (size < 120) return digits(value) + " s";
  if (size < 7200) return digits(value / 60) + " min";
  if (size < 172800) return digits(value / 3600) + " h";
  return digits(value / 86400) + " d";
};

// A share near 1 needs its digits behind the nines: 99.95 % isn't 100 %.
const share = (value) => {
  const percent = value * 100;
  const rest = Math.abs(100 - percent);
  if (percent > 90 && rest > 0 && rest < 10) return trim(percent.toFixed(rest < 0.01 ? 4 : rest < 1 ? 3 : 2)) + " %";
  if (percent !== 0 && Math.abs(percent) < 0.001) return percent.toExponential(0) + " %";
  return digits(percent) + " %";
};

const bytes = (value) => joined(scaled(value, [" B", " KiB", " MiB", " GiB", " TiB"], 1024));

export const units = {
  none: (value) => Math.abs(value) >= 10000 ? joined(short(value)) : digits(value),
  short: (value) => joined(short(value)),
  percentunit: share,
  s: seconds,
  bytes: bytes,
  Bps: (value) => joined(scaled(value, [" B/s", " kB/s", " MB/s", " GB/s"], 1000)),
  reqps: (value) => joined(short(value)) + " req/s",
  ops: (value) => joined(short(value)) + " ops/s",
  currencyEUR: (value) => "€" + (Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(2)),
};

// word is a value for people, without one: a dash.
export const word = (unit, value) => value === null || value === undefined ? "–" : (units[unit] || units.none)(value);

// ticks words the marks of an axis alike, with as many digits as tell them apart.
export const ticks = (unit, values) => {
  const step = values.length > 1 ? Math.abs(values[1] - values[0]) : 0;
  if (unit === "percentunit" && step > 0) {
    const places = Math.min(6, Math.max(0, Math.ceil(-Math.log10(step * 100) - 1e-9)));
    return values.map((value) => (value * 100).toFixed(places) + " %");
  }
  return values.map((value) => word(unit, Math.abs(value) < step / 1e6 ? 0 : value).replace(" req/s", "").replace(" ops/s", ""));
};
