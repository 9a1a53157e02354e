const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
const font = "11px system-ui, sans-serif";

const clock = (seconds) => {
  const whole = Math.abs(Math.round(seconds)), two = (n) => String(n).padStart(2, "0");
  const text = whole < 3600 ? `${Math.floor(whole / 60)}:${two(whole % 60)}`
    : `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
  return (seconds < 0 ? "−" : "") + text;
};

// withGaps puts a null where nothing was measured for three times the usual distance.
const withGaps = ({ times, values }) => {
  const distances = times.slice(1).map((at, i) => at - times[i]).sort((a, b) => a - b);
  const longest = 3 * distances[Math.floor(distances.length / 2)];
  const line = [[], []];
  times.forEach((at, i) => {
    if (at - times[i - 1] > longest) {
      line[0].push((at + times[i - 1]) / 2);
      line[1].push(null);
    }
    line[0].push(at);
    line[1].push(values[i]);
  });
  return line;
};

const mark = (u, stroke, width, dash, from, to) => {
  u.ctx.save();
  Object.assign(u.ctx, { strokeStyle: stroke, lineWidth: width * devicePixelRatio });
  u.ctx.setLineDash(dash.map((length) => length * devicePixelRatio));
  u.ctx.beginPath();
  u.ctx.moveTo(...from);
  u.ctx.lineTo(...to);
  u.ctx.stroke();
  u.ctx.restore();
};

const marks = (u, { objective, switches }) => {
  const { left, top, width, height } = u.bbox;
  if (objective) {
    const y = u.valToPos(objective, "y", true);
    u.ctx.fillStyle = colour("beyond");
    u.ctx.fillRect(left, top, width, y - top);
    mark(u, colour("bad"), 1, [2, 3], [left, y], [left + width, y]);
  }
  for (const { at, back } of switches ?? []) {
    const x = u.valToPos(at, "x", true);
    mark(u, colour(back ? "careful" : "text"), back ? 1.6 : 1.2, back ? [4, 2] : [], [x, top], [x, top + height]);
  }
};

const axis = () => ({ stroke: colour("soft"), font, ticks: { show: false } });

// time is the axis of the time since the start.
const time = () => ({
  ...axis(), grid: { show: false }, size: 24, space: 50, values: (_, splits) => splits.map(clock),
  incrs: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600],
});

const bare = { legend: { show: false }, cursor: { show: false } };

const draw = (place) => {
  const drawing = JSON.parse(place.querySelector("script").textContent);
  place.querySelector(".uplot")?.remove();
  const highest = Math.max(drawing.top, 1.05 * (drawing.objective ?? 0)) || 1;
  new uPlot({
    ...bare, width: place.clientWidth, height: 150,
    scales: { x: { time: false, range: [drawing.from, drawing.to] }, y: { range: [0, highest] } },
    axes: [time(), { ...axis(), grid: { stroke: colour("line"), width: 1 }, size: 46, space: 26 }],
    series: [{}, ...drawing.lines.map((line) => ({ stroke: colour(line.colour), width: 1.8 }))],
    hooks: { draw: [(u) => marks(u, drawing)] },
  }, uPlot.join(drawing.lines.map(withGaps)), place);
};

// The axis of the timeline has the width of the bars, and room for half a label on both sides.
const drawAxis = (place) => {
  const from = Number(place.dataset.from), to = Math.max(Number(place.dataset.to), from + 1), room = 16;
  place.querySelector(".uplot")?.remove();
  new uPlot({
    ...bare, width: place.clientWidth + 2 * room, height: 25, padding: [0, room, 0, room],
    scales: { x: { time: false, range: [from, to] }, y: { range: [0, 1] } }, axes: [time(), { show: false }], series: [{}, {}],
  }, [[from, to], [null, null]], place);
};

const drawAll = () => {
  document.querySelectorAll(".plot").forEach(draw);
  document.querySelectorAll(".axis .bar").forEach(drawAxis);
};
drawAll();
addEventListener("resize", drawAll);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
