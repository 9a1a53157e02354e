// Queries of a dashboard: their time range, their variables, and the responses of Prometheus.

const scrapeInterval = 15; // seconds
const maxQueries = 6; // at once: Prometheus evaluates 20
const maxSeries = 60; // per query; more lines can't be distinguished

const secondsOf = { s: 1, m: 60, h: 3600, d: 86400 };
const maxRange = 31 * secondsOf.d;

// ago returns the seconds between now and a time such as now-6h.
const ago = (text) => {
  const parts = /^now(?:-(\d+)([smhd]))?$/.exec(text);
  if (!parts) throw new Error(`"${text}" is not a time such as now-6h`);
  const seconds = parts[1] ? parts[1] * secondsOf[parts[2]] : 0;
  if (seconds > maxRange) throw new Error(`"${text}" is before Prometheus's retention: the maximum is now-31d`);
  return seconds;
};

// spanOf returns the times at which a range has values. They are multiples of the step, so that a chart doesn't shift at a refresh.
export const spanOf = (from, to, points, now = Date.now() / 1000) => {
  const length = ago(from) - ago(to);
  if (length <= 0) throw new Error(`${from} is not before ${to}`);
  const step = Math.max(scrapeInterval, Math.round(length / points / scrapeInterval) * scrapeInterval);
  const end = Math.floor((now - ago(to)) / step) * step;
  const steps = Math.floor(length / step);
  const times = Array.from({ length: steps + 1 }, (_, i) => end - (steps - i) * step);
  return { start: times[0], end, step, times };
};

const quoted = (value) => value.replace(/[\\.+*?()|[\]{}^$]/g, "\\$&").replaceAll("\\", "\\\\").replaceAll('"', '\\"');

// valueOf returns the text of a variable in a query: a bare number, or a regular expression inside quotes.
const valueOf = (variable, values) => {
  if (variable.type === "textbox") return values[0]?.trim() && Number.isFinite(Number(values[0])) ? values[0] : "NaN";
  if (values.includes("$__all")) return variable.allValue;
  return values.length === 1 ? quoted(values[0]) : `(${values.map(quoted).join("|")})`;
};

// interpolate replaces the variables of a query as Grafana does. A name that isn't a variable stays, such as $1 in label_replace.
export const interpolate = (expr, variables, chosen, span) => {
  // Four scrapes, so that a rate survives a missed scrape; and a step and a scrape, so that no sample is between two steps.
  const known = { __rate_interval: Math.max(span.step + scrapeInterval, 4 * scrapeInterval) + "s" };
  for (const variable of variables) known[variable.name] = valueOf(variable, chosen(variable));
  return expr.replace(/\$(\w+)/g, (found, name) => known[name] ?? found);
};

// legendOf replaces {{label}} by the label's value.
export const legendOf = (format, labels) => format.replace(/{{\s*(\w+)\s*}}/g, (_, name) => labels[name] ?? "").trim();

// Browsers abort requests when the machine's networks change, as at each start of a pod. So requests are retried.
const tryFetch = (address, signal, tries = 4) => fetch(address, { signal }).catch(async (error) => {
  if (signal?.aborted) throw error;
  if (tries === 1) throw new Error(`The command that serves this page doesn't respond: start it again. (${error.message})`);
  await new Promise((resolve) => setTimeout(resolve, 500));
  return tryFetch(address, signal, tries - 1);
});

// fetchJSON returns the JSON at a path of this server.
export const fetchJSON = async (path, parameters, signal) => {
  const response = await tryFetch(parameters ? `${path}?${new URLSearchParams(parameters)}` : path, signal);
  const content = await response.json().catch(() => {
    throw new Error(`${path} returns ${response.status} and no JSON`);
  });
  if (!response.ok) throw new Error(content.error ?? `${path} returns ${response.status}`);
  return content;
};

let free = maxQueries;
const waiting = [];

const query = async (path, parameters, signal) => {
  if (free > 0) free--;
  else await new Promise((resolve) => waiting.push(resolve));
  try {
    return (await fetchJSON("/api/v1/" + path, parameters, signal)).data;
  } finally {
    if (waiting.length) waiting.shift()();
    else free++;
  }
};

const queryRange = async (expr, { start, end, step }, signal) =>
  (await query("query_range", { query: expr, start, end, step }, signal)).result;

const queryInstant = async (expr, { end }, signal) => (await query("query", { query: expr, time: end }, signal)).result;

// parsed returns a sample's value; null for NaN and infinity.
const parsed = ([, text]) => Number.isFinite(Number(text)) ? Number(text) : null;

const atTimes = ({ start, step, times }, samples) => {
  const values = times.map(() => null);
  for (const sample of samples) values[Math.round((sample[0] - start) / step)] = parsed(sample);
  return values;
};

// queryPanel returns what a panel draws: lines with a value for each time, or with one value, and the errors of its queries.
export const queryPanel = async (panel, span, interpolated, signal) => {
  const queries = panel.targets.map((target) => interpolated(target.expr, span));
  const results = await Promise.allSettled(panel.targets.map(({ instant }, i) =>
    instant ? queryInstant(queries[i], span, signal) : queryRange(queries[i], span, signal)));
  const picture = { ...span, queries, lines: [], faults: [], left: 0 };
  panel.targets.forEach(({ refId, legendFormat }, i) => {
    const { value: series = [], reason } = results[i];
    if (reason) picture.faults.push({ query: queries[i], error: reason.message });
    picture.left += Math.max(0, series.length - maxSeries);
    for (const { metric, value, values } of series.slice(0, maxSeries)) {
      const shown = value ? [parsed(value)] : atTimes(span, values);
      picture.lines.push({ refId, labels: metric, legend: legendOf(legendFormat, metric), values: shown });
    }
  });
  return picture;
};

// queryEvents returns the first of consecutive samples of each annotation's series.
export const queryEvents = async (annotations, span, interpolated, signal) => {
  const step = Math.max(60, Math.ceil(span.times.length * span.step / 10000)); // limits the samples to Prometheus's maximum
  const events = await Promise.all(annotations.map(async ({ expr, titleFormat }) => {
    const series = await queryRange(interpolated(expr, span), { ...span, step }, signal);
    return series.flatMap(({ metric, values }) => values
      .filter(([at], i) => i === 0 || at - values[i - 1][0] > step)
      .map(([at]) => ({ at, labels: metric, title: legendOf(titleFormat, metric) })));
  }));
  return events.flat().sort((a, b) => a.at - b.at);
};

// queryValues returns the values that a variable can have: a list, or those of a label.
export const queryValues = async (variable, { start, end }) => {
  const parts = /^label_values\((.*), *(\w+)\)$/.exec(variable.query);
  return parts ? query(`label/${parts[2]}/values`, { "match[]": parts[1], start, end }) : variable.query.split(",");
};
