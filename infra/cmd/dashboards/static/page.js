// The page: which dashboard, over which time, asked again and again.

import { element, kinds } from "./charts.js";

const find = (id) => document.getElementById(id);

const ranges = { "15m": "15 minutes", "1h": "1 hour", "3h": "3 hours", "6h": "6 hours", "12h": "12 hours", "24h": "1 day", "2d": "2 days", "7d": "7 days" };
const refreshes = { 0: "never", 15: "15 s", 30: "30 s", 60: "1 min", 300: "5 min" };

const state = { list: null, board: null, events: [], hidden: new Map(), drawn: [], turn: 0, timer: 0, refresh: 30 };

// Theme: what was chosen before, else what the system has.

const systemDark = matchMedia("(prefers-color-scheme: dark)");
const applyTheme = () => {
  const theme = localStorage.getItem("theme") || (systemDark.matches ? "dark" : "light");
  document.documentElement.dataset.theme = theme;
  find("theme").textContent = theme === "dark" ? "Light" : "Dark";
  find("theme").title = `Change to ${theme === "dark" ? "light" : "dark"} colours`;
};
find("theme").addEventListener("click", () => {
  localStorage.setItem("theme", document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  applyTheme();
  ask();
});
systemDark.addEventListener("change", () => { applyTheme(); ask(); });

// The address says all that is chosen, in Grafana's words: /d/<uid>?from=now-1h&to=now&var-service=…

const uid = () => decodeURIComponent(location.pathname.split("/")[2] || "");
const parameters = () => new URLSearchParams(location.search);
const go = (path, search) => {
  history.pushState(null, "", path + (String(search) ? "?" + search : ""));
  open();
};
const change = (edit) => {
  const search = parameters();
  edit(search);
  history.pushState(null, "", location.pathname + "?" + search);
  ask();
};
const timeOf = (search) => {
  const kept = new URLSearchParams();
  for (const name of ["from", "to"]) if (search.has(name)) kept.set(name, search.get(name));
  return kept;
};
// link leads to another dashboard over the same time.
const link = (path, words) => {
  const kept = timeOf(parameters());
  const made = element("a", { href: path + (String(kept) ? "?" + kept : "") }, words);
  made.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    go(path, timeOf(parameters()));
  });
  return made;
};
addEventListener("popstate", () => open());

// Browsers break off what they ask when the machine's networks change, as they do whenever a pod starts: so we ask again.
const tries = 4;
const reach = async (address) => {
  for (let i = 1; ; i++) {
    try { return await fetch(address); } catch (error) {
      if (i === tries) throw new Error("The command that draws this page doesn't answer: start it again. (" + error.message + ")");
      await new Promise((resolve) => setTimeout(resolve, 250 * i));
    }
  }
};

const json = async (path, search) => {
  const response = await reach(path + (search && String(search) ? "?" + search : ""));
  let answer;
  try { answer = await response.json(); } catch { throw new Error(`${path} answers ${response.status}`); }
  if (!response.ok) throw new Error(answer.error || `${path} answers ${response.status}`);
  return answer;
};

// The head.

const options = (select, words, chosen) => {
  select.replaceChildren(...Object.entries(words).map(([value, text]) => element("option", { value, textContent: text, selected: value === chosen })));
};

const head = () => {
  find("dashboards").replaceChildren(...state.list.dashboards.map((each) => {
    const entry = link("/d/" + each.uid, each.title);
    if (each.uid === uid()) entry.setAttribute("aria-current", "page");
    return element("li", {}, entry);
  }));
  options(find("jump"), Object.fromEntries(state.list.dashboards.map((each) => [each.uid, each.title])), uid());
  const range = (parameters().get("from") || state.board.time.from).replace("now-", "");
  options(find("range"), range in ranges ? ranges : { ...ranges, [range]: range }, range);
  options(find("refresh"), refreshes, String(state.refresh));
};
find("jump").addEventListener("change", (event) => go("/d/" + event.target.value, timeOf(parameters())));
find("range").addEventListener("change", (event) => change((search) => { search.set("from", "now-" + event.target.value); search.set("to", "now"); }));
find("refresh").addEventListener("change", (event) => { state.refresh = Number(event.target.value); plan(); });
find("again").addEventListener("click", () => ask());

// Variables: choices as boxes to tick, numbers as fields.

const chosen = (variable) => {
  const given = parameters().getAll("var-" + variable.name);
  if (given.length) return given;
  const value = variable.current && variable.current.value;
  return Array.isArray(value) ? value : value === undefined ? [] : [value];
};

const asked = () => {
  const search = parameters();
  if (!search.has("from")) { search.set("from", state.board.time.from); search.set("to", state.board.time.to); }
  return search;
};

const variables = async () => {
  const fields = await Promise.all((state.board.templating.list || []).map(async (variable) => {
    const label = variable.label || variable.name;
    if (variable.type === "textbox") {
      const input = element("input", { inputMode: "decimal", value: chosen(variable)[0] || "", title: variable.description || "", name: variable.name });
      input.addEventListener("change", () => {
        const number = input.value.trim().replace(",", ".");
        const right = number !== "" && Number.isFinite(Number(number));
        input.setCustomValidity(right ? "" : "a number, such as 20");
        if (right) change((search) => search.set("var-" + variable.name, number)); else input.reportValidity();
      });
      return element("label", {}, label, input);
    }
    let values = [];
    try { values = await json(`/api/dashboards/${uid()}/variables/${variable.name}`, asked()); } catch { /* its panels will say */ }
    const now = chosen(variable);
    values = [...new Set([...values, ...now.filter((value) => value !== "$__all")])];
    const field = element("fieldset", {}, element("legend", {}, label));
    const boxes = [["$__all", "All"], ...values.map((value) => [value, value])].map(([value, text]) => {
      const box = element("input", { type: "checkbox", value, checked: now.includes(value) });
      field.append(element("label", {}, box, text));
      return box;
    });
    field.addEventListener("change", ({ target }) => {
      let picked = boxes.filter((box) => box.checked && (target.value === "$__all" ? box === target : box.value !== "$__all")).map((box) => box.value);
      if (!picked.length) picked = ["$__all"];
      for (const box of boxes) box.checked = picked.includes(box.value);
      change((search) => { search.delete("var-" + variable.name); for (const value of picked) search.append("var-" + variable.name, value); });
    });
    return field;
  }));
  find("variables").replaceChildren(...fields);
};
find("variables").addEventListener("submit", (event) => event.preventDefault());

// Alerts, on the first page.

const alerts = async () => {
  const place = find("alerts");
  place.hidden = !(state.list.alertmanager && uid() === state.list.home);
  if (place.hidden) return;
  let firing;
  try { firing = await json("/api/alerts"); } catch (error) {
    place.className = "alerts firing";
    place.replaceChildren(element("h2", {}, "Alerts"), element("p", { className: "fault" }, error.message));
    return;
  }
  const active = firing.filter((alert) => alert.status.state === "active");
  const quiet = firing.length - active.length;
  place.className = active.length ? "alerts firing" : "alerts";
  const list = element("ul");
  for (const { labels, annotations, startsAt } of active) {
    const title = element("div", {}, element("span", { className: "severity " + (labels.severity === "page" ? "page" : "ticket") }, labels.severity || ""),
      element("b", {}, labels.alertname || "?"), labels.job ? " · " + labels.job : "", ` · since ${new Date(startsAt).toLocaleString("en-GB")}`);
    const runbook = annotations.runbook_url || "";
    if (/^https?:\/\//.test(runbook)) title.append(" · ", element("a", { href: runbook, rel: "noopener noreferrer", target: "_blank" }, "what to do"));
    list.append(element("li", {}, title, element("p", {}, annotations.summary || ""), ...(annotations.description ? [element("p", {}, annotations.description)] : [])));
  }
  place.replaceChildren(element("h2", {}, active.length ? `${active.length} ${active.length === 1 ? "alert fires" : "alerts fire"}` : "No alert fires"), list,
    ...(quiet ? [element("p", {}, `${quiet} more ${quiet === 1 ? "is" : "are"} silenced, or follow from another.`)] : []));
};

// Panels.

const build = () => {
  for (const each of state.drawn) each.clear();
  state.drawn = [];
  const nodes = [];
  for (const panel of state.board.panels) {
    const { x, y, w, h } = panel.gridPos;
    if (panel.type === "row") {
      const heading = element("h2", { id: "row-" + panel.id }, panel.title);
      heading.style.gridRow = `${y + 1} / span 1`;
      nodes.push(heading);
      continue;
    }
    const body = element("div", { className: "body" });
    const top = element("div", { className: "top" }, element("h3", { id: "panel-" + panel.id, title: panel.title }, panel.title));
    const made = element("section", { className: "panel " + panel.type }, top, body);
    made.setAttribute("aria-labelledby", "panel-" + panel.id);
    made.dataset.panel = panel.id;
    made.style.gridColumn = `${x + 1} / span ${w}`;
    made.style.gridRow = `${y + 1} / span ${h}`;
    made.style.setProperty("--tall", Math.max(130, h * 34) + "px");
    const one = { panel, made, body, clear: () => {}, asked: null };
    if (panel.type === "text") {
      kinds.text(body, panel);
    } else {
      const about = element("details", { className: "about" });
      const summary = element("summary", {}, "i");
      summary.setAttribute("aria-label", "About " + panel.title);
      one.asked = element("div", {}, element("p", {}, panel.description));
      about.append(summary, one.asked);
      about.addEventListener("keydown", (event) => { if (event.key === "Escape") { about.open = false; summary.focus(); } });
      about.addEventListener("toggle", () => {
        if (!about.open) return;
        for (const other of document.querySelectorAll("details.about[open]")) if (other !== about) other.open = false;
        one.asked.style.marginLeft = "0";
        const over = one.asked.getBoundingClientRect().right - document.documentElement.clientWidth + 12;
        if (over > 0) one.asked.style.marginLeft = -over + "px";
      });
      top.append(about);
      for (const each of panel.links || []) top.append(link(each.url, each.title));
      state.drawn.push(one);
    }
    nodes.push(made);
  }
  find("panels").replaceChildren(...nodes);
};

const faults = (body, list) => {
  const place = element("div", { className: "faults", tabIndex: 0 });
  for (const cause of new Set(list.map((each) => each.error))) {
    const asked = list.filter((each) => each.error === cause && each.expr).map((each) => element("pre", {}, each.expr));
    place.append(element("p", { className: "fault" }, cause), ...asked);
  }
  body.append(place);
};

const zoom = (from, to) => {
  const ago = Math.max(60, Math.round((Date.now() / 1000 - from) / 60) * 60);
  const until = Math.max(0, Math.round((Date.now() / 1000 - to) / 60) * 60);
  if (ago - until < 60) return;
  change((search) => { search.set("from", `now-${ago / 60}m`); search.set("to", until ? `now-${until / 60}m` : "now"); });
};

const draw = (one, picture) => {
  const { panel, body } = one;
  one.clear();
  one.clear = () => {};
  body.replaceChildren();
  one.asked.replaceChildren(element("p", {}, panel.description), ...(picture.queries || []).map((query) => element("pre", {}, query)));
  if (picture.faults.length) { faults(body, picture.faults); return; }
  const defaults = panel.fieldConfig.defaults;
  if (!picture.lines.some((each) => each.values.some((value) => value !== null))) {
    body.append(element("p", { className: "none" }, defaults.noValue || "No data: nobody tells of this, or not within this time."));
    return;
  }
  const key = uid() + "/" + panel.id;
  if (!state.hidden.has(key)) state.hidden.set(key, new Set());
  one.clear = kinds[panel.type](body, panel, picture, { hidden: state.hidden.get(key), events: state.events, zoom, link });
  if (picture.left) body.append(element("p", { className: "faint" }, `and ${picture.left} more`));
};

const room = (one) => Math.round(Math.max(200, one.made.clientWidth) / 3);

// ask draws everything anew; what a former turn still waits for is dropped.
const ask = async () => {
  const turn = ++state.turn;
  clearTimeout(state.timer);
  head();
  const search = asked();
  const base = "/api/dashboards/" + encodeURIComponent(uid());
  alerts();
  try { state.events = await json(base + "/annotations", search); } catch { state.events = []; }
  if (turn !== state.turn) return;
  await Promise.all(state.drawn.map(async (one) => {
    one.made.classList.add("waiting");
    let picture;
    try {
      const own = new URLSearchParams(search);
      own.set("points", room(one));
      picture = await json(`${base}/panels/${one.panel.id}`, own);
    } catch (error) {
      picture = { lines: [], faults: [{ error: error.message, expr: "" }], queries: [] };
    }
    if (turn !== state.turn) return;
    // What somebody reads or holds with the keyboard isn't taken from under their hands.
    const held = document.activeElement && one.body.contains(document.activeElement) ? focusPath(one.body, document.activeElement) : null;
    draw(one, picture);
    if (held) restoreFocus(one.body, held);
    one.made.classList.remove("waiting");
  }));
  if (turn !== state.turn) return;
  find("asked").textContent = "as of " + new Date().toLocaleTimeString("en-GB");
  document.documentElement.dataset.drawn = String(turn);
  plan();
};

const focusable = (body) => [...body.querySelectorAll("button, a, [tabindex]")];
const focusPath = (body, held) => focusable(body).indexOf(held);
const restoreFocus = (body, i) => { const next = focusable(body)[i]; if (next) next.focus({ preventScroll: true }); };

// plan asks again after a while, if anybody looks.
const plan = () => {
  clearTimeout(state.timer);
  if (!state.refresh) return;
  state.timer = setTimeout(() => { if (document.hidden) plan(); else ask(); }, state.refresh * 1000);
};
addEventListener("visibilitychange", () => { if (!document.hidden && state.refresh && state.board) ask(); });

const open = async () => {
  try {
    state.list = state.list || await json("/api/dashboards");
    state.board = await json("/api/dashboards/" + encodeURIComponent(uid()));
  } catch (error) {
    find("title").textContent = "Not here";
    find("about").replaceChildren(element("span", { className: "fault" }, error.message + ". "), element("a", { href: "/" }, "To the first page"));
    find("panels").replaceChildren();
    return;
  }
  document.title = state.board.title + " · Platform";
  find("title").textContent = state.board.title;
  find("about").textContent = state.board.description;
  find("variables").replaceChildren();
  build();
  variables();
  await ask();
};

addEventListener("click", (event) => {
  for (const about of document.querySelectorAll("details.about[open]")) if (!about.contains(event.target)) about.open = false;
});

applyTheme();
addEventListener("DOMContentLoaded", open);
if (document.readyState === "complete") open();
