// The page: a dashboard over a time range, with its variables, drawn again at every refresh.

import { element, kinds } from "./charts.js";
import { fetchJSON, interpolate, queryEvents, queryPanel, queryValues, spanOf } from "./prometheus.js";

const find = (id) => document.getElementById(id);

const ranges = {
  "15m": "15 minutes", "1h": "1 hour", "3h": "3 hours", "6h": "6 hours", "12h": "12 hours", "24h": "1 day", "2d": "2 days", "7d": "7 days",
};
const refreshes = { 0: "off", 15: "15 s", 30: "30 s", 60: "1 min", 300: "5 min" };

const state = { list: null, board: null, variables: [], charts: [], turns: 0, turn: new AbortController(), timer: 0 };

// The theme is the one that was chosen, or the system's.

const systemDark = matchMedia("(prefers-color-scheme: dark)");
const applyTheme = () => {
  const theme = localStorage.theme ?? (systemDark.matches ? "dark" : "light");
  document.documentElement.dataset.theme = theme;
  find("theme").textContent = theme === "dark" ? "Light" : "Dark";
  if (state.board) refresh();
};
find("theme").addEventListener("click", () => {
  localStorage.theme = find("theme").textContent.toLowerCase();
  applyTheme();
});
systemDark.addEventListener("change", applyTheme);

// The address has everything that people choose, in Grafana's words: /d/<uid>?from=now-1h&to=now&var-service=…

const uid = () => location.pathname.split("/")[2];
const parameters = () => new URLSearchParams(location.search);
const change = (edit) => {
  const search = parameters();
  edit(search);
  history.pushState(null, "", location.pathname + "?" + search);
  refresh();
};
const withRange = (path) => {
  const kept = [...parameters()].filter(([name]) => name === "from" || name === "to");
  return kept.length ? `${path}?${new URLSearchParams(kept)}` : path;
};
const link = (path, text) => element("a", { href: withRange(path) }, text);
const span = (points) => {
  const search = parameters();
  return spanOf(search.get("from") ?? state.board.time.from, search.get("to") ?? "now", points);
};
const setRange = (from, to) => change((search) => {
  search.set("from", from);
  search.set("to", to);
});
const zoom = (from, to) => {
  const minutes = (at) => Math.max(0, Math.round((Date.now() / 1000 - at) / 60));
  if (minutes(from) > minutes(to)) setRange(`now-${minutes(from)}m`, minutes(to) ? `now-${minutes(to)}m` : "now");
};

// The header.

const interval = () => localStorage.interval ?? "30";

const options = (select, texts, chosen) => {
  select.replaceChildren(...Object.entries(texts).map(([value, text]) => element("option", { value, selected: value === chosen }, text)));
};
const head = () => {
  const { dashboards } = state.list;
  const current = (each) => ({ ariaCurrent: each.uid === uid() ? "page" : null });
  find("dashboards").replaceChildren(...dashboards.map((each) =>
    element("li", {}, Object.assign(link("/d/" + each.uid, each.title), current(each)))));
  const range = (parameters().get("from") ?? state.board.time.from).replace("now-", "");
  options(find("range"), { ...ranges, [range]: ranges[range] ?? range }, range);
  options(find("interval"), refreshes, interval());
};
find("range").addEventListener("change", ({ target }) => setRange("now-" + target.value, "now"));
find("interval").addEventListener("change", ({ target }) => {
  localStorage.interval = target.value;
  plan();
});
find("refresh").addEventListener("click", () => refresh());

// Variables: checkboxes for values, fields for numbers.

const chosen = (variable) => {
  const given = parameters().getAll("var-" + variable.name);
  return given.length ? given : [variable.current.value].flat();
};
const interpolated = (expr, over) => interpolate(expr, state.variables, chosen, over);

const numberField = (variable) => {
  const { name, label, description: title } = variable;
  const [value] = chosen(variable);
  const input = element("input", { name, title, value, inputMode: "decimal", required: true, pattern: "\\d+([.,]\\d+)?" });
  input.addEventListener("change", () => {
    if (input.reportValidity()) change((search) => search.set("var-" + name, input.value.replace(",", ".")));
  });
  return element("label", {}, label, input);
};

const checkboxes = async (variable) => {
  const all = "$__all";
  const now = chosen(variable);
  const known = await queryValues(variable, span(200)).catch(() => []); // the panels show the error
  const values = [...new Set([all, ...known, ...now])];
  const boxes = values.map((value) => element("input", { type: "checkbox", value, checked: now.includes(value) }));
  const labels = boxes.map((box) => element("label", {}, box, box.value === all ? "All" : box.value));
  const field = element("fieldset", {}, element("legend", {}, variable.label), ...labels);
  field.addEventListener("change", ({ target }) => {
    const picked = boxes.filter((box) => box.checked && (box.value === all) === (target.value === all)).map((box) => box.value);
    if (!picked.length) picked.push(all);
    for (const box of boxes) box.checked = picked.includes(box.value);
    change((search) => {
      search.delete("var-" + variable.name);
      for (const value of picked) search.append("var-" + variable.name, value);
    });
  });
  return field;
};


// Alerts, on the first dashboard: pages before tickets, without the alert that always fires.

const item = ({ labels, annotations, startsAt }) => {
  const title = element("div", {}, element("span", { className: "severity " + labels.severity }, labels.severity),
    element("b", {}, labels.alertname), labels.job ? " · " + labels.job : "", ` · since ${new Date(startsAt).toLocaleString("en-GB")}`);
  const href = annotations.runbook_url ?? "";
  if (/^https?:\/\//.test(href)) title.append(" · ", element("a", { href, rel: "noopener noreferrer", target: "_blank" }, "Runbook"));
  const release = annotations.release && "Live: " + annotations.release;
  const texts = [annotations.summary, annotations.description, release].filter(Boolean).map((text) => element("p", {}, text));
  return element("li", {}, title, ...texts);
};
const alerts = async () => {
  const place = find("alerts");
  place.hidden = !state.list.alertmanager || uid() !== state.list.home;
  if (place.hidden) return;
  try {
    const order = ({ labels, startsAt }) => labels.severity + startsAt;
    const all = (await fetchJSON("/api/v2/alerts")).filter(({ labels }) => labels.severity !== "none")
      .sort((a, b) => order(a).localeCompare(order(b)));
    const active = all.filter(({ status }) => status.state === "active");
    const others = all.length - active.length;
    place.className = active.length ? "alerts firing" : "alerts";
    place.replaceChildren(element("h2", {}, `Alerts firing: ${active.length}`), element("ul", {}, ...active.map(item)),
      others ? element("p", {}, `${others} more ${others === 1 ? "is" : "are"} silenced or inhibited.`) : "");
  } catch (error) {
    place.className = "alerts firing";
    place.replaceChildren(element("h2", {}, "Alerts"), element("p", { className: "fault" }, error.message));
  }
};

// Panels.

const build = () => {
  find("panels").replaceChildren(...state.board.panels.map((panel) => {
    const { x, y, w, h } = panel.gridPos;
    if (panel.type === "row") return element("h2", { style: { gridRow: y + 1 } }, panel.title);
    const body = element("div", { className: "body" });
    const top = element("div", { className: "top" }, element("h3", { title: panel.title }, panel.title));
    const style = { gridColumn: `${x + 1} / span ${w}`, gridRow: `${y + 1} / span ${h}` };
    const place = element("section", { className: "panel " + panel.type, ariaLabel: panel.title, style }, top, body);
    place.style.setProperty("--tall", Math.max(130, h * 34) + "px");
    const about = element("div", { popover: "auto" });
    const button = element("button", { type: "button", ariaLabel: "About " + panel.title, popoverTargetElement: about }, "i");
    top.append(button, about, ...(panel.links ?? []).map((each) => link(each.url, each.title)));
    state.charts.push({ panel, place, body, about, hidden: new Set() });
    return place;
  }));
};

const draw = (chart, picture, events) => {
  const { panel, body, about, hidden } = chart;
  const queries = (list) => list.map((query) => element("pre", {}, query));
  chart.clear?.();
  chart.clear = undefined;
  body.replaceChildren();
  about.replaceChildren(element("p", {}, panel.description), ...queries(picture.queries));
  if (picture.faults.length) {
    const causes = Object.entries(Object.groupBy(picture.faults, ({ error }) => error));
    body.append(element("div", { className: "faults", tabIndex: 0 }, ...causes.flatMap(([error, faults]) =>
      [element("p", { className: "fault" }, error), ...queries(faults.map(({ query }) => query))])));
  } else if (picture.lines.every((line) => line.values.every((value) => value === null))) {
    body.append(element("p", { className: "none" }, panel.fieldConfig.defaults.noValue ?? "No data in this time range"));
  } else {
    chart.clear = kinds[panel.type](body, panel, picture, { hidden, events, zoom, link });
    if (picture.left) body.append(element("p", { className: "faint" }, `and ${picture.left} more`));
  }
};

const focusable = (body) => [...body.querySelectorAll("button, a, [tabindex]")];

const refreshPanel = async (chart, events, signal) => {
  chart.place.classList.add("waiting");
  const points = Math.round(Math.max(200, chart.place.clientWidth) / 3);
  const picture = await queryPanel(chart.panel, span(points), interpolated, signal);
  if (signal.aborted) return;
  const focused = focusable(chart.body).indexOf(document.activeElement);
  draw(chart, picture, events);
  focusable(chart.body)[focused]?.focus({ preventScroll: true });
  chart.place.classList.remove("waiting");
};

// refresh draws everything again, and aborts pending queries of the previous refresh.
const refresh = async () => {
  clearTimeout(state.timer);
  state.turn.abort();
  state.turn = new AbortController();
  const { signal } = state.turn;
  state.turns++;
  head();
  alerts();
  const events = await queryEvents(state.board.annotations.list ?? [], span(200), interpolated, signal).catch(() => []);
  if (signal.aborted) return;
  await Promise.all(state.charts.map((chart) => refreshPanel(chart, events, signal)));
  if (signal.aborted) return;
  find("updated").textContent = "Updated at " + new Date().toLocaleTimeString("en-GB");
  document.documentElement.dataset.drawn = state.turns;
  plan();
};

// plan refreshes after the interval, if the page is visible.
const plan = () => {
  clearTimeout(state.timer);
  if (interval() !== "0") state.timer = setTimeout(() => document.hidden ? plan() : refresh(), interval() * 1000);
};
addEventListener("visibilitychange", () => {
  if (!document.hidden && interval() !== "0" && state.board) refresh();
});

// show draws the dashboard of the address.
const show = async () => {
  refresh();
  const fields = state.variables.map((variable) => variable.type === "textbox" ? numberField(variable) : checkboxes(variable));
  find("variables").replaceChildren(...await Promise.all(fields));
};
addEventListener("popstate", () => {
  if (state.board) show();
});

const open = async () => {
  applyTheme();
  try {
    state.list = await fetchJSON("/api/dashboards");
    state.board = await fetchJSON("/api/dashboards/" + uid());
    span(200);
  } catch (error) {
    state.board = null;
    find("title").textContent = "Not found";
    find("about").replaceChildren(error.message + ". ", element("a", { href: "/" }, "To the first dashboard"));
    return;
  }
  state.variables = state.board.templating.list ?? [];
  document.title = state.board.title + " · Platform";
  find("title").textContent = state.board.title;
  find("about").textContent = state.board.description;
  build();
  show();
};

open();
