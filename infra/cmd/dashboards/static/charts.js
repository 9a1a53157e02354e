// How each kind of panel is drawn. All draw into the element given, from a panel of the dashboard and the picture of it that
// the server made, and return how to take the drawing away.

import { word, ticks } from "./units.js";
import { colour, line, dash, threshold, mapped } from "./colours.js";

export const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

const lastOf = (values) => {
  for (let i = values.length - 1; i >= 0; i--) if (values[i] !== null) return values[i];
  return null;
};

const named = (lines) => [...lines].sort((a, b) => a.legend.localeCompare(b.legend, "en", { numeric: true }));

const defaultsOf = (panel) => (panel.fieldConfig && panel.fieldConfig.defaults) || {};

// fixed finds the colour that a dashboard gives the series with this name.
const fixed = (panel, legend) => {
  for (const override of panel.fieldConfig.overrides || []) {
    if (override.matcher.id !== "byRegexp") continue;
    const pattern = new RegExp(override.matcher.options.replace(/^\/|\/$/g, ""));
    const property = override.properties.find((each) => each.id === "color");
    if (property && pattern.test(legend)) return property.value.fixedColor;
  }
  return undefined;
};

const clock = (seconds, length) => {
  const at = new Date(seconds * 1000);
  const day = { day: "2-digit", month: "2-digit" };
  const time = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  return at.toLocaleString("en-GB", length > 86400 ? { ...day, ...time } : length > 0 ? time : { ...day, ...time, second: "2-digit" });
};


// apart is how far the marks of an axis are from each other, where tens don't suit the unit.
const apart = {
  bytes: Array.from({ length: 51 }, (_, i) => 2 ** i),
  s: [1e-6, 1e-5, 1e-4, 1e-3, .01, .1, 1].flatMap((ten) => [ten, 2 * ten, 5 * ten]).concat(10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400, 604800),
};

// timeseries draws lines with axes, limits, what happened, and a legend whose entries show and hide them.
const timeseries = (body, panel, picture, context) => {
  const defaults = defaultsOf(panel);
  const lines = named(picture.lines);
  const stacked = defaults.custom && defaults.custom.stacking && defaults.custom.stacking.mode === "normal";
  const times = Array.from({ length: picture.points }, (_, i) => picture.start + i * picture.step);
  const uses = {};
  const drawn = lines.map((each, i) => {
    const own = fixed(panel, each.legend);
    const nth = uses[own || i] = (uses[own || i] ?? -1) + 1;
    return { ...each, stroke: own ? colour(own) : line(i), dash: own ? dash(nth) : [] };
  });
  const shown = new Set(drawn.map((_, i) => i).filter((i) => !context.hidden.has(drawn[i].legend)));

  const chart = element("div", { className: "chart", tabIndex: 0 });
  chart.setAttribute("role", "img");
  chart.setAttribute("aria-label", panel.title + ": " + drawn.map((each) => `${each.legend} ${word(defaults.unit, lastOf(each.values))}`).join(", ") +
    ". With the arrow keys you move through time.");
  const legend = element("ul", { className: "legend" });
  body.append(chart, legend);
  const tip = element("div", { className: "tip", hidden: true });
  tip.setAttribute("role", "status");
  chart.append(tip);

  const data = () => {
    const sums = new Array(picture.points).fill(0);
    return [times, ...drawn.map((each, i) => {
      if (!stacked) return each.values;
      if (!shown.has(i)) return each.values.map(() => null);
      return each.values.map((value, at) => value === null ? null : (sums[at] += value));
    })];
  };

  const limits = (defaults.thresholds.steps || []).filter((step) => step.value !== null && step.value !== undefined);
  const marksLimits = defaults.custom && defaults.custom.thresholdsStyle && defaults.custom.thresholdsStyle.mode !== "off";
  const box = () => ({ width: Math.max(120, chart.clientWidth), height: Math.max(60, chart.clientHeight) });
  const axis = { stroke: colour("--faint"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
  const options = {
    ...box(),
    cursor: { sync: { key: "time" }, focus: { prox: 24 }, drag: { x: true, y: false, setScale: false }, points: { size: 6 } },
    legend: { show: false },
    scales: {
      x: { time: true, range: () => [times[0], times[times.length - 1]] },
      y: {
        range: (_, low, high) => {
          if (low === null) [low, high] = [0, 1];
          low = Math.min(low, 0);
          if (defaults.min !== undefined) low = Math.max(low, defaults.min);
          if (high <= low) high = low + (defaults.unit === "percentunit" ? 0.01 : 1);
          high += (high - low) * 0.08;
          if (defaults.max !== undefined && high > defaults.max) high = defaults.max;
          return [low, high];
        },
      },
    },
    axes: [
      { ...axis, size: 24, space: picture.points * picture.step > 86400 ? 110 : 70, values: (_, splits) => splits.map((at) => clock(at, picture.points * picture.step)) },
      { ...axis, incrs: apart[defaults.unit], size: (u, values) => Math.max(34, 12 + 6.4 * Math.max(0, ...(values || []).map((text) => text.length))), values: (_, splits) => ticks(defaults.unit, splits) },
    ],
    series: [{}, ...drawn.map((each, i) => ({
      label: each.legend, stroke: each.stroke, dash: each.dash, width: 1.5, show: stacked || shown.has(i), points: { show: false, size: 5 },
      fill: stacked ? each.stroke + "33" : undefined, spanGaps: false,
    }))],
    bands: stacked ? drawn.slice(1).map((_, i) => ({ series: [i + 2, i + 1] })) : undefined,
    hooks: {
      draw: [(u) => {
        const pen = u.ctx;
        pen.save();
        pen.lineWidth = devicePixelRatio;
        if (marksLimits) {
          pen.setLineDash([6 * devicePixelRatio, 5 * devicePixelRatio]);
          for (const limit of limits) {
            if (limit.value < u.scales.y.min || limit.value > u.scales.y.max) continue;
            const y = Math.round(u.valToPos(limit.value, "y", true));
            pen.strokeStyle = colour(limit.color);
            pen.beginPath(); pen.moveTo(u.bbox.left, y); pen.lineTo(u.bbox.left + u.bbox.width, y); pen.stroke();
          }
        }
        pen.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
        pen.strokeStyle = colour("purple");
        for (const event of context.events) {
          const x = Math.round(u.valToPos(event.at, "x", true));
          if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) continue;
          pen.beginPath(); pen.moveTo(x, u.bbox.top); pen.lineTo(x, u.bbox.top + u.bbox.height); pen.stroke();
        }
        pen.restore();
      }],
      setCursor: [(u) => tell(u)],
      setSelect: [(u) => {
        if (u.select.width > 8) context.zoom(u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x"));
        u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
      }],
    },
  };
  // A single value between gaps has no line to be seen by.
  drawn.forEach((each, i) => {
    const lonely = each.values.some((value, at) => value !== null && (each.values[at - 1] ?? null) === null && (each.values[at + 1] ?? null) === null);
    if (lonely) options.series[i + 1].points.show = true;
  });

  const tell = (u) => {
    const i = u.cursor.idx;
    const here = chart.matches(":hover") || document.activeElement === chart;
    if (i === null || i === undefined || !here || u.cursor.left < 0) { tip.hidden = true; return; }
    const rows = drawn.map((each, n) => ({ each, n, value: each.values[i] })).filter(({ n, value }) => shown.has(n) && value !== null && value !== undefined)
      .sort((a, b) => b.value - a.value).slice(0, 12);
    const table = element("table");
    for (const { each, value } of rows) {
      const key = element("span", { className: "key" });
      key.style.background = each.stroke;
      table.append(element("tr", {}, element("td", {}, key, each.legend), element("td", {}, word(defaults.unit, value))));
    }
    const near = context.events.filter((event) => Math.abs(event.at - times[i]) <= Math.max(picture.step, 60));
    tip.replaceChildren(element("b", {}, clock(times[i], 0)), table, ...near.map((event) => element("div", {}, event.title)));
    tip.hidden = false;
    const left = u.over.offsetLeft + u.cursor.left;
    tip.style.left = Math.max(0, left + 14 + tip.offsetWidth > chart.clientWidth ? left - 14 - tip.offsetWidth : left + 14) + "px";
    tip.style.top = Math.max(0, Math.min(chart.clientHeight - tip.offsetHeight, u.cursor.top)) + "px";
  };

  const plot = new uPlot(options, data(), chart);
  chart.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    const from = plot.cursor.idx ?? picture.points - 1;
    const i = Math.min(picture.points - 1, Math.max(0, from + by));
    plot.setCursor({ left: plot.valToPos(times[i], "x"), top: 10 });
  });
  for (const leave of ["mouseleave", "blur"]) chart.addEventListener(leave, () => { tip.hidden = true; });

  drawn.forEach((each, i) => {
    const key = element("span", { className: "key" });
    key.style.background = each.dash.length ? `repeating-linear-gradient(90deg, ${each.stroke} 0 4px, transparent 4px 6px)` : each.stroke;
    const button = element("button", { type: "button", title: "Show or hide" }, key, each.legend, element("span", { className: "value" }, word(defaults.unit, lastOf(each.values))));
    button.setAttribute("aria-pressed", String(shown.has(i)));
    button.addEventListener("click", () => {
      if (shown.has(i)) { shown.delete(i); context.hidden.add(each.legend); } else { shown.add(i); context.hidden.delete(each.legend); }
      button.setAttribute("aria-pressed", String(shown.has(i)));
      if (stacked) plot.setData(data()); else plot.setSeries(i + 1, { show: shown.has(i) });
    });
    legend.append(element("li", {}, button));
  });
  plot.setSize(box()); // the legend has taken its room
  const watch = new ResizeObserver(() => plot.setSize(box()));
  watch.observe(chart);
  return () => { watch.disconnect(); plot.destroy(); };
};

// stat draws the last values, large, with their way there.
const stat = (body, panel, picture) => {
  const defaults = defaultsOf(panel);
  const numbers = element("div", { className: "numbers" });
  body.append(numbers);
  const lines = named(picture.lines);
  for (const each of lines) {
    const value = lastOf(each.values);
    const words = mapped(defaults.mappings, value);
    const shown = element("b", {}, words ? words.text : value === null ? defaults.noValue || "–" : word(defaults.unit, value));
    const coloured = panel.options.colorMode !== "none";
    if (value !== null && coloured) shown.style.color = colour(words ? words.color : threshold(defaults.thresholds.steps, value));
    const block = element("div", { className: "number" }, shown);
    if (lines.length > 1) block.append(element("span", {}, each.legend));
    numbers.append(block);
  }
  if (lines.length !== 1 || panel.options.graphMode === "none") return () => {};
  const [only] = lines;
  const spark = element("div", { className: "spark" });
  spark.setAttribute("aria-hidden", "true");
  body.append(spark);
  const times = only.values.map((_, i) => picture.start + i * picture.step);
  const value = lastOf(only.values);
  const stroke = value !== null && panel.options.colorMode !== "none" ? colour(threshold(defaults.thresholds.steps, value)) : colour("--accent");
  const size = () => ({ width: Math.max(40, spark.clientWidth), height: 26 });
  const plot = new uPlot({
    ...size(), cursor: { show: false }, legend: { show: false }, padding: [2, 0, 0, 0],
    scales: { x: { time: true }, y: { range: (_, low, high) => [low - (high - low || 1) * 0.1, high + (high - low || 1) * 0.1] } },
    axes: [{ show: false }, { show: false }],
    series: [{}, { stroke, width: 1.2, fill: stroke + "22", points: { show: false } }],
  }, [times, only.values], spark);
  const watch = new ResizeObserver(() => plot.setSize(size()));
  watch.observe(spark);
  return () => { watch.disconnect(); plot.destroy(); };
};

// bargauge draws each series' last value as a bar.
const bargauge = (body, panel, picture) => {
  const defaults = defaultsOf(panel);
  const bars = element("div", { className: "bars", tabIndex: 0 });
  bars.setAttribute("role", "list");
  const lines = named(picture.lines);
  const low = defaults.min ?? Math.min(0, ...lines.map((each) => lastOf(each.values) ?? 0));
  const high = defaults.max ?? (Math.max(...lines.map((each) => lastOf(each.values) ?? 0)) || 1);
  for (const each of lines) {
    const value = lastOf(each.values);
    const hue = threshold(defaults.thresholds.steps, value);
    const fill = element("div", { className: "fill" });
    fill.style.width = Math.min(100, Math.max(0, 100 * (value - low) / (high - low))) + "%";
    fill.style.background = hue === "text" ? colour("--accent") : colour(hue);
    const bar = element("div", { className: "bar" },
      element("span", { className: "name", title: each.legend }, each.legend), element("div", { className: "track" }, fill), element("b", {}, word(defaults.unit, value)));
    bar.setAttribute("role", "listitem");
    bars.append(bar);
  }
  body.append(bars);
  return () => {};
};

// table joins the queries' rows by their labels, and shows the columns that the dashboard names.
const table = (body, panel, picture, context) => {
  const many = panel.targets.length > 1;
  const organize = panel.transformations.find((each) => each.id === "organize").options;
  const columns = Object.keys(organize.indexByName).sort((a, b) => organize.indexByName[a] - organize.indexByName[b]);
  const rows = new Map();
  for (const each of picture.lines) {
    const labels = Object.fromEntries(Object.entries(each.labels).filter(([name]) => name !== "__name__" && columns.includes(name)));
    const key = JSON.stringify(Object.entries(labels).sort());
    if (!rows.has(key)) rows.set(key, { ...labels });
    rows.get(key)[many ? "Value #" + each.query : "Value"] = lastOf(each.values);
  }
  const overrides = (title) => {
    const found = {};
    for (const override of panel.fieldConfig.overrides || []) {
      if (override.matcher.id === "byName" && override.matcher.options === title) for (const property of override.properties) found[property.id] = property.value;
    }
    return found;
  };
  const isValue = (name) => name.startsWith("Value");
  const head = element("tr");
  for (const name of columns) head.append(element("th", { scope: "col", className: isValue(name) ? "count" : "" }, organize.renameByName[name] || name));
  const made = element("tbody");
  const text = (row) => columns.filter((name) => !isValue(name)).map((name) => row[name] || "").join("\u0000");
  for (const row of [...rows.values()].sort((a, b) => text(a).localeCompare(text(b)))) {
    const cells = element("tr");
    for (const name of columns) {
      const own = overrides(organize.renameByName[name] || name);
      const value = row[name];
      const cell = element("td", { className: isValue(name) ? "count" : "" });
      if (isValue(name)) {
        const words = mapped(own.mappings, value);
        cell.append(words ? words.text : word(own.unit || "none", value));
        if (words) cell.style.color = colour(words.color);
        else if (own.thresholds && value !== undefined && value !== null) cell.style.color = colour(threshold(own.thresholds.steps, value));
      } else if (own.links && value) {
        cell.append(context.link(own.links[0].url.replaceAll("${__value.text}", encodeURIComponent(value)), value));
      } else {
        cell.append(value ?? "");
      }
      cells.append(cell);
    }
    made.append(cells);
  }
  const scroll = element("div", { className: "scroll", tabIndex: 0 }, element("table", {}, element("thead", {}, head), made));
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", panel.title);
  body.append(scroll);
  return () => {};
};

// statetimeline draws a row for each series, in which a stretch has the word of its state.
const stretches = (values) => {
  const found = [];
  values.forEach((value, i) => {
    const before = found[found.length - 1];
    if (before && before.value === value) before.end = i; else found.push({ value, start: i, end: i });
  });
  return found.filter((each) => each.value !== null);
};

const statetimeline = (body, panel, picture, context) => {
  const defaults = defaultsOf(panel);
  const rows = element("div", { className: "timeline", tabIndex: 0 });
  const jobs = picture.lines.map((line) => line.labels.job);
  const length = picture.points;
  for (const each of named(picture.lines)) {
    const states = element("div", { className: "states" });
    const told = [];
    for (const stretch of stretches(each.values)) {
      const words = mapped(defaults.mappings, stretch.value) || { text: word(defaults.unit, stretch.value), color: "text" };
      const span = element("span", { title: `${words.text}: ${clock(picture.start + stretch.start * picture.step, 0)} to ${clock(picture.start + stretch.end * picture.step, 0)}` });
      span.style.left = 100 * stretch.start / length + "%";
      span.style.width = 100 * (stretch.end - stretch.start + 1) / length + "%";
      span.style.background = colour(words.color);
      if ((stretch.end - stretch.start + 1) / length > 0.06) span.append(words.text);
      states.append(span);
      told.push(`${words.text} from ${clock(picture.start + stretch.start * picture.step, 0)}`);
    }
    states.setAttribute("role", "img");
    states.setAttribute("aria-label", `${each.legend}: ${told.join(", ")}`);
    for (const event of context.events) {
      if (event.labels.job !== each.labels.job && jobs.includes(event.labels.job)) continue; // it's of another row
      const at = (event.at - picture.start) / (picture.step * length);
      if (at < 0 || at > 1) continue;
      const mark = element("i", { className: "happened", title: `${event.title}, ${clock(event.at, 0)}` });
      mark.style.left = 100 * at + "%";
      states.append(mark);
    }
    rows.append(element("span", { className: "name", title: each.legend }, each.legend), states);
  }
  const end = picture.start + (length - 1) * picture.step;
  const hours = element("div", { className: "hours" });
  hours.setAttribute("aria-hidden", "true");
  for (let i = 0; i < 4; i++) hours.append(element("span", {}, clock(picture.start + (end - picture.start) * i / 3, length * picture.step)));
  rows.append(element("span"), hours);
  body.append(rows);
  return () => {};
};

// text draws paragraphs; of Markdown the dashboards use no more.
const text = (body, panel) => {
  const prose = element("div", { className: "prose" });
  for (const paragraph of panel.options.content.split(/\n\n+/)) prose.append(element("p", {}, paragraph));
  body.append(prose);
  return () => {};
};

// kinds is what draws a panel, by Grafana's name for its kind.
export const kinds = { timeseries, stat, bargauge, gauge: bargauge, table, "state-timeline": statetimeline, text };
