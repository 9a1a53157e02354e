// The functions that draw the types of panels. Each gets an element, the panel and the result of queryPanel, and returns a function that
// removes the chart.

import { word, tick } from "./units.js";

export const element = (name, properties = {}, ...children) => {
  const { style, ...others } = properties;
  const made = Object.assign(document.createElement(name), others);
  Object.assign(made.style, style);
  made.append(...children);
  return made;
};

// Colours have Grafana's names. page.css has their light and dark hues.
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

// Patterns tell lines of one colour apart.
const dashes = [[], [7, 4], [2, 3], [10, 3, 2, 3], [14, 4]];

// threshold returns the colour of a value. The first step has no value and is the base.
const threshold = ({ steps }, value) => steps.findLast((step, i) => i === 0 || value >= step.value).color;

// mapped returns the text and the colour of a value's mapping, if it has one.
const mapped = (mappings, value) => mappings?.find((mapping) => mapping.options[value])?.options[value];

const lastOf = (values) => values.findLast((value) => value !== null) ?? null;

const sorted = (lines) => [...lines].sort((a, b) => a.legend.localeCompare(b.legend, "en", { numeric: true }));

const clock = (seconds, length) => {
  const day = { day: "2-digit", month: "2-digit" };
  const time = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  return new Date(seconds * 1000).toLocaleString("en-GB", length > 86400 ? { ...day, ...time } : time);
};

const moment = (seconds) => new Date(seconds * 1000).toLocaleString("en-GB");

// plot draws with uPlot, in the size of the element.
const plot = (place, options, data) => {
  const size = () => ({ width: Math.max(40, place.clientWidth), height: Math.max(26, place.clientHeight) });
  const made = new uPlot({ ...options, ...size(), legend: { show: false } }, data, place);
  const watch = new ResizeObserver(() => made.setSize(size()));
  watch.observe(place);
  return [made, () => {
    watch.disconnect();
    made.destroy();
  }];
};

// coloured adds the colour of each line: that of the dashboard's override for its legend, with a pattern, or the next one of the palette.
const coloured = (panel, lines) => {
  const fixed = (legend) => panel.fieldConfig.overrides.find(({ matcher }) => new RegExp(matcher.options.slice(1, -1)).test(legend));
  const uses = {};
  return lines.map((line, i) => {
    const name = fixed(line.legend)?.properties[0].value.fixedColor;
    if (!name) return { ...line, stroke: colour("line-" + i % 10), dash: [] };
    uses[name] = (uses[name] ?? -1) + 1;
    return { ...line, stroke: colour(name), dash: dashes[uses[name] % dashes.length] };
  });
};

// Distances between the ticks of an axis, for units that aren't decimal.
const increments = {
  bytes: Array.from({ length: 51 }, (_, i) => 2 ** i),
  s: [1e-6, 1e-5, 1e-4, 1e-3, .01, .1, 1].flatMap((ten) => [ten, 2 * ten, 5 * ten])
    .concat(10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400, 604800),
};

const lowToHigh = ({ min = -Infinity, max = Infinity, unit }) => (_, low, high) => {
  const bottom = Math.max(Math.min(low ?? 0, 0), min);
  const top = high > bottom ? high : bottom + (unit === "percentunit" ? 0.01 : 1);
  return [bottom, Math.min(top + (top - bottom) * 0.08, max)];
};

// marks draws the thresholds as horizontal lines, and the events as vertical lines.
const marks = (u, limits, events) => {
  const pen = u.ctx;
  const { left, top, width, height } = u.bbox;
  const line = (hue, x, y, toX, toY) => {
    pen.strokeStyle = colour(hue);
    pen.beginPath();
    pen.moveTo(x, y);
    pen.lineTo(toX, toY);
    pen.stroke();
  };
  pen.save();
  pen.beginPath();
  pen.rect(left, top, width, height);
  pen.clip();
  pen.lineWidth = devicePixelRatio;
  pen.setLineDash([5 * devicePixelRatio, 4 * devicePixelRatio]);
  for (const limit of limits) {
    const y = Math.round(u.valToPos(limit.value, "y", true));
    line(limit.color, left, y, left + width, y);
  }
  for (const event of events) {
    const x = Math.round(u.valToPos(event.at, "x", true));
    line("purple", x, top, x, top + height);
  }
  pen.restore();
};

// A value between two gaps is drawn as a point.
const isLone = (value, i, values) => value !== null && (values[i - 1] ?? null) === null && (values[i + 1] ?? null) === null;

const key = (line) => {
  const dashed = `repeating-linear-gradient(90deg, ${line.stroke} 0 4px, transparent 4px 6px)`;
  return element("span", { className: "key", style: { background: line.dash.length ? dashed : line.stroke } });
};

// timeseries draws lines with axes, thresholds and events, and a legend whose entries show and hide them.
const timeseries = (body, panel, picture, { hidden, events, zoom }) => {
  const { unit, thresholds, custom, ...range } = panel.fieldConfig.defaults;
  const { times, step } = picture;
  const length = picture.end - picture.start;
  const stacked = custom.stacking?.mode === "normal";
  const lines = coloured(panel, sorted(picture.lines));
  const isShown = (line) => !hidden.has(line.legend);
  const last = (line) => word(unit, lastOf(line.values));
  const tip = element("div", { className: "tip", role: "status", hidden: true });
  const chart = element("div", { className: "chart", role: "img", tabIndex: 0 }, tip);
  chart.ariaLabel = `${panel.title}: ${lines.map((line) => `${line.legend} ${last(line)}`).join(", ")}. The arrow keys move through time.`;
  const data = () => {
    const sums = times.map(() => 0);
    const stack = (line) => line.values.map((value, i) => value === null || !isShown(line) ? null : (sums[i] += value));
    return [times, ...lines.map((line) => stacked ? stack(line) : line.values)];
  };
  const tell = (u) => {
    const i = u.cursor.idx;
    tip.hidden = (i ?? null) === null || u.cursor.left < 0 || !(chart.matches(":hover") || document.activeElement === chart);
    if (tip.hidden) return;
    const rows = lines.filter((line) => isShown(line) && (line.values[i] ?? null) !== null).sort((a, b) => b.values[i] - a.values[i]);
    const cells = (line) => [element("td", {}, key(line), line.legend), element("td", {}, word(unit, line.values[i]))];
    const near = events.filter((event) => Math.abs(event.at - times[i]) <= Math.max(step, 60));
    tip.replaceChildren(element("b", {}, moment(times[i])),
      element("table", {}, ...rows.slice(0, 12).map((line) => element("tr", {}, ...cells(line)))),
      ...near.map((event) => element("div", {}, event.title)));
    const x = u.over.offsetLeft + u.cursor.left;
    const left = x + 14 + tip.offsetWidth > chart.clientWidth ? x - 14 - tip.offsetWidth : x + 14;
    tip.style.left = Math.max(0, left) + "px";
    tip.style.top = Math.max(0, Math.min(chart.clientHeight - tip.offsetHeight, u.cursor.top)) + "px";
  };
  const select = (u) => {
    const { left, width } = u.select;
    if (width > 8) zoom(u.posToVal(left, "x"), u.posToVal(left + width, "x"));
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  };
  const grid = { stroke: colour("grid"), width: 1 };
  const axis = { stroke: colour("faint"), grid, ticks: { show: false }, font: "11px system-ui, sans-serif" };
  const widest = (labels) => Math.max(34, 12 + 6.4 * Math.max(0, ...(labels ?? []).map((label) => label.length)));
  const limits = custom.thresholdsStyle ? thresholds.steps.slice(1) : [];
  const sync = { key: "time", filters: { pub: (type) => type === "mousemove" || type === "mouseleave" } }; // no drag
  body.append(chart);
  const [drawn, clear] = plot(chart, {
    cursor: { sync, focus: { prox: 24 }, drag: { x: true, y: false, setScale: false }, points: { size: 6 } },
    scales: { x: { range: () => [times[0], times.at(-1)] }, y: { range: lowToHigh({ unit, ...range }) } },
    axes: [
      { ...axis, size: 24, space: length > 86400 ? 110 : 70, values: (_, splits) => splits.map((at) => clock(at, length)) },
      { ...axis, incrs: increments[unit], size: (_, labels) => widest(labels), values: (_, splits) => splits.map((at) => tick(unit, at)) },
    ],
    series: [{}, ...lines.map((line) => ({
      stroke: line.stroke, dash: line.dash, width: 1.5, fill: stacked ? line.stroke + "33" : undefined,
      show: stacked || isShown(line), points: { show: line.values.some(isLone), size: 5 },
    }))],
    bands: stacked ? lines.slice(1).map((_, i) => ({ series: [i + 2, i + 1] })) : undefined,
    hooks: { draw: [(u) => marks(u, limits, events)], setCursor: [tell], setSelect: [select] },
  }, data());
  chart.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    const i = Math.min(times.length - 1, Math.max(0, (drawn.cursor.idx ?? times.length - 1) + by));
    drawn.setCursor({ left: drawn.valToPos(times[i], "x"), top: 10 });
  });
  for (const leave of ["mouseleave", "blur"]) chart.addEventListener(leave, () => { tip.hidden = true; });
  body.append(element("ul", { className: "legend" }, ...lines.map((line, i) => {
    const value = element("span", { className: "value" }, last(line));
    const button = element("button", { type: "button", title: "Show or hide", ariaPressed: isShown(line) }, key(line), line.legend, value);
    button.addEventListener("click", () => {
      if (!hidden.delete(line.legend)) hidden.add(line.legend);
      button.ariaPressed = isShown(line);
      if (stacked) drawn.setData(data());
      else drawn.setSeries(i + 1, { show: isShown(line) });
    });
    return element("li", {}, button);
  })));
  return clear;
};

// stat draws the last values in large type, and the line of a single value behind it.
const stat = (body, panel, picture) => {
  const { unit, thresholds, mappings } = panel.fieldConfig.defaults;
  const lines = sorted(picture.lines);
  const numbers = lines.map((line) => {
    const value = lastOf(line.values);
    const mapping = mapped(mappings, value);
    const own = mapping?.color ?? threshold(thresholds, value);
    const hue = panel.options.colorMode === "none" || value === null ? "text" : own;
    const number = element("b", { style: { color: colour(hue) } }, mapping?.text ?? word(unit, value));
    return element("div", { className: "number" }, number, lines.length > 1 ? element("span", {}, line.legend) : "");
  });
  body.append(element("div", { className: "numbers" }, ...numbers));
  if (lines.length > 1) return undefined;
  const spark = element("div", { className: "spark", ariaHidden: true });
  body.append(spark);
  const stroke = panel.options.colorMode === "none" ? colour("accent") : colour(threshold(thresholds, lastOf(lines[0].values)));
  const around = (_, low, high) => [low - (high - low || 1) * 0.1, high + (high - low || 1) * 0.1];
  const [, clear] = plot(spark, {
    cursor: { show: false }, padding: [2, 0, 0, 0], scales: { y: { range: around } }, axes: [{ show: false }, { show: false }],
    series: [{}, { stroke, width: 1.2, fill: stroke + "22", points: { show: false } }],
  }, [picture.times, lines[0].values]);
  return clear;
};

// bargauge draws the last value of each line as a bar.
const bargauge = (body, panel, picture) => {
  const { unit, thresholds, min, max } = panel.fieldConfig.defaults;
  const lasts = picture.lines.map((line) => lastOf(line.values) ?? 0);
  const low = min ?? Math.min(0, ...lasts);
  const high = max ?? (Math.max(...lasts) || 1);
  body.append(element("div", { className: "bars", role: "list", tabIndex: 0 }, ...sorted(picture.lines).map((line) => {
    const value = lastOf(line.values);
    const hue = threshold(thresholds, value);
    const width = Math.min(100, Math.max(0, 100 * (value - low) / (high - low))) + "%";
    const fill = element("div", { className: "fill", style: { width, background: colour(hue === "text" ? "accent" : hue) } });
    return element("div", { className: "bar", role: "listitem" }, element("span", { className: "name", title: line.legend }, line.legend),
      element("div", { className: "track" }, fill), element("b", {}, word(unit, value)));
  })));
};

// table joins the lines of all queries by their labels, and shows the columns that the dashboard names.
const table = (body, panel, picture, { link }) => {
  const { indexByName, renameByName } = panel.transformations.find(({ id }) => id === "organize").options;
  const names = Object.keys(indexByName).sort((a, b) => indexByName[a] - indexByName[b]);
  const isValue = (name) => name.startsWith("Value");
  const columns = names.map((name) => {
    const override = panel.fieldConfig.overrides.find(({ matcher }) => matcher.options === renameByName[name]);
    const properties = Object.fromEntries((override?.properties ?? []).map(({ id, value }) => [id, value]));
    return { unit: "none", ...properties, name, className: isValue(name) ? "count" : "" };
  });
  const rows = new Map();
  for (const line of picture.lines) {
    const texts = names.filter((name) => !isValue(name)).map((name) => line.labels[name] ?? "");
    const row = rows.get(texts.join("\0")) ?? { ...line.labels };
    row[panel.targets.length > 1 ? "Value #" + line.refId : "Value"] = lastOf(line.values);
    rows.set(texts.join("\0"), row);
  }
  const cell = (row, { name, unit, mappings, thresholds, links, className }) => {
    const value = row[name];
    if (links && value) return element("td", {}, link(links[0].url.replace("${__value.text}", encodeURIComponent(value)), value));
    if (!isValue(name)) return element("td", {}, value ?? "");
    const mapping = mapped(mappings, value);
    const hue = mapping?.color ?? (thresholds && (value ?? null) !== null ? threshold(thresholds, value) : "text");
    return element("td", { className, style: { color: colour(hue) } }, mapping?.text ?? word(unit, value));
  };
  const head = columns.map(({ name, className }) => element("th", { scope: "col", className }, renameByName[name]));
  const lines = [...rows].sort(([a], [b]) => a.localeCompare(b))
    .map(([, row]) => element("tr", {}, ...columns.map((column) => cell(row, column))));
  body.append(element("div", { className: "scroll", role: "region", ariaLabel: panel.title, tabIndex: 0 },
    element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...lines))));
};

// statetimeline draws a row for each line, with the texts of its states, and the events.
const statetimeline = (body, panel, { lines, times, start, end, step }, { events }) => {
  const share = (seconds) => 100 * seconds / (end - start + step) + "%";
  const { mappings } = panel.fieldConfig.defaults;
  const jobs = lines.map((line) => line.labels.job);
  const rows = sorted(lines).flatMap((line) => {
    const changes = [...line.values.keys()].filter((i) => i === 0 || line.values[i] !== line.values[i - 1]);
    const stateOf = (i, n) => ({ ...mapped(mappings, line.values[i]), from: times[i], to: times[changes[n + 1]] ?? end + step });
    const states = changes.map(stateOf).filter((state) => state.text);
    const spans = states.map(({ text, color, from, to }) => element("span", {
      title: `${text}: ${moment(from)} to ${moment(to)}`,
      style: { left: share(from - start), width: share(to - from), background: colour(color) },
    }, (to - from) / (end - start) > 0.06 ? text : ""));
    const own = events.filter((event) => event.at >= start && (event.labels.job === line.labels.job || !jobs.includes(event.labels.job)));
    const happened = own.map((event) => element("i", {
      className: "happened", title: `${event.title}, ${moment(event.at)}`, style: { left: share(event.at - start) },
    }));
    const ariaLabel = `${line.legend}: ${states.map(({ text, from }) => `${text} from ${moment(from)}`).join(", ")}`;
    return [element("span", { className: "name", title: line.legend }, line.legend),
      element("div", { className: "states", role: "img", ariaLabel }, ...spans, ...happened)];
  });
  const hours = [0, 1, 2, 3].map((i) => element("span", {}, clock(start + (end - start) * i / 3, end - start)));
  body.append(element("div", { className: "timeline", tabIndex: 0 }, ...rows,
    element("span"), element("div", { className: "hours", ariaHidden: true }, ...hours)));
};

// kinds are the functions that draw a panel, by Grafana's types.
export const kinds = { timeseries, stat, bargauge, table, "state-timeline": statetimeline };
