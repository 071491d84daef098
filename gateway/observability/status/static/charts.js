
const HEIGHT = 132;
const LEFT = 46;
const BOTTOM = 18;
const TOP = 8;

function svg(name, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// Rounds up to 1, 2 or 5 times a power of ten: the end of the axis.
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1e-9)));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.9999);
}

function frame(label, width, top, unit, from, to) {
  const y = (share) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - share);
  const root = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label });
  for (const share of [0, 0.5, 1]) {
    root.append(svg("line", { class: "grid", x1: LEFT, x2: width, y1: y(share), y2: y(share) }));
    root.append(svg("text", { x: LEFT - 6, y: y(share) + 3.5, "text-anchor": "end" }, share ? unit(top * share) : "0"));
  }
  root.append(svg("text", { x: LEFT, y: HEIGHT - 4 }, from));
  root.append(svg("text", { x: width, y: HEIGHT - 4, "text-anchor": "end" }, to));
  return { root, y: (value) => y(Math.min(1, value / top)) };
}

// One value for each second, the newest last, as an area under a line.
function rateChart(rates, seconds, width) {
  const peak = Math.max(...rates, 0);
  const top = roundUp(Math.max(peak, 10));
  const last = rates.length ? rates[rates.length - 1] : 0;
  const label = `Tokens per second over the last two minutes: now ${rate(last)}, at most ${rate(peak)}`;
  const { root, y } = frame(label, width, top, (value) => rate(value), "2 min ago", "now");
  const x = (index) => width - ((rates.length - 1 - index) * (width - LEFT)) / (seconds - 1);
  const points = rates.map((value, index) => `${x(index).toFixed(1)},${y(value).toFixed(1)}`);
  if (points.length > 1) {
    const base = y(0).toFixed(1);
    root.append(svg("polygon", { class: "area", points: [`${x(0).toFixed(1)},${base}`, ...points, `${width},${base}`].join(" ") }));
    root.append(svg("polyline", { class: "line", points: points.join(" ") }));
  }
  return root;
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const half = Math.floor(sorted.length / 2);
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

// A bar for each finished stream, the newest on the right, and a line at the median.
function firstChart(finished, most, width) {
  const shown = finished.slice(0, most).reverse();
  const values = shown.map((ended) => ended.first_event_ms);
  const middle = values.length ? median(values) : 0;
  const label = values.length
    ? `Time to the first token of the last ${plural(values.length, "stream")}: median ${milliseconds(middle)}, at most ${milliseconds(Math.max(...values))}`
    : "Time to the first token: no stream has finished yet";
  const { root, y } = frame(label, width, roundUp(Math.max(...values, 10)), axisTime, values.length ? "older" : "", values.length ? "newest" : "");
  const step = Math.min((width - LEFT) / most, 14);
  shown.forEach((ended, index) => {
    const height = Math.max(1.5, y(0) - y(ended.first_event_ms));
    const x = width - (shown.length - index) * step;
    const bar = svg("rect", { class: "bar", x: (x + 1).toFixed(1), y: (y(0) - height).toFixed(1), width: (step - 2).toFixed(1), height: height.toFixed(1), rx: 1.5 });
    bar.append(svg("title", {}, `${milliseconds(ended.first_event_ms)} · ${ended.model}`));
    root.append(bar);
  });
  if (values.length) root.append(svg("line", { class: "middle", x1: LEFT, x2: width, y1: y(middle), y2: y(middle) }));
  return { root, middle };
}

function axisTime(value) {
  return value < 1000 ? `${number(value)} ms` : `${number(value * 10 / 1000) / 10} s`;
}
