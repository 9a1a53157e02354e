// Units by Grafana's ids. A test checks that the unit of every panel is here.

// digits keeps at least two significant digits, so that 0.00123 and 1234 are both legible.
const digits = (value) => {
  const size = Math.abs(value);
  if (size >= 100) return value.toFixed(0);
  if (size >= 1) return String(Number(value.toFixed(size >= 10 ? 1 : 2)));
  return String(Number(value.toPrecision(2)));
};

const scaled = (base, ...names) => (value) => {
  let i = 0;
  while (Math.abs(value) >= base && i < names.length - 1) {
    value /= base;
    i++;
  }
  return digits(value) + names[i];
};

const short = scaled(1000, "", " K", " Mil", " Bil");

// The units of durations: the value below which a unit is used, its seconds, and its name.
const durations = [[1e-3, 1e-6, "µs"], [1, 1e-3, "ms"], [120, 1, "s"], [7200, 60, "min"], [172800, 3600, "h"], [Infinity, 86400, "d"]];

const duration = (value) => {
  if (value === 0) return "0 s";
  const [, seconds, name] = durations.find(([size]) => Math.abs(value) < size);
  return `${digits(value / seconds)} ${name}`;
};

// percent keeps the digits after the nines: 99.95 % isn't 100 %.
const percent = (value) => {
  const rest = Math.abs(100 - value);
  if (value > 90 && rest > 0 && rest < 10) return String(Number(value.toFixed(rest < 0.01 ? 4 : rest < 1 ? 3 : 2)));
  if (value !== 0 && Math.abs(value) < 0.001) return value.toExponential(0);
  return digits(value);
};

export const units = {
  none: (value) => Math.abs(value) >= 10000 ? short(value) : digits(value),
  percentunit: (value) => percent(value * 100) + " %",
  s: duration,
  bytes: scaled(1024, " B", " KiB", " MiB", " GiB", " TiB"),
  Bps: scaled(1000, " B/s", " kB/s", " MB/s", " GB/s"),
  reqps: (value) => short(value) + " req/s",
  ops: (value) => short(value) + " ops/s",
  currencyEUR: (value) => "€" + value.toFixed(Math.abs(value) >= 100 ? 0 : 2),
};

// word returns the text of a value; a dash where there is none.
export const word = (unit, value) => value === null || value === undefined ? "–" : units[unit](value);

// tick returns a short label of a tick. Sums of steps have a rounding error near 0.
export const tick = (unit, value) => word(unit, Number(value.toFixed(12))).replace(/ (req|ops)\/s$/, "");
