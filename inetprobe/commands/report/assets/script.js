"use strict";
(() => {
  const root = document.documentElement;
  const charts = JSON.parse(document.getElementById("charts").textContent);

  const duration = (ns) => {
    for (const [limit, scale, unit] of [[1e3, 1, "ns"], [1e6, 1e3, "µs"], [1e9, 1e6, "ms"]])
      if (ns < limit) return `${+(ns / scale).toPrecision(3)} ${unit}`;
    return `${+(ns / 1e9).toPrecision(3)} s`;
  };
  const number = new Intl.NumberFormat("en-US");
  const look = (height, width) => ({
    width, height, marginTop: 16, marginRight: 32, marginBottom: 24, marginLeft: 52,
    style: { background: "transparent", color: "inherit", fontFamily: "inherit", fontSize: "11px", overflow: "visible" },
  });

  // Powers of ten, with steps between them if there are few.
  const ticks = (low, high, width) => {
    const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high));
    const few = last - first <= 2;
    const step = Math.max(1, Math.ceil(((last - first) * 56) / width));
    const found = [];
    for (let power = first; power <= last; power += few ? 1 : step)
      for (const digit of few ? [1, 2, 5] : [1]) found.push(digit * 10 ** power);
    return found.filter((value) => value >= low && value <= high);
  };

  const fates = [["created", "var(--ok)"], ["failed", "var(--failed)"], ["outcome not seen", "var(--unseen)"], ["lost", "var(--lost)"]];

  function counts(chart, width) {
    const rows = chart.bins.flatMap(([start, numbers]) => {
      const said = fates.flatMap(([word], fate) => (numbers[fate] || fate < 2 ? [`${number.format(numbers[fate])} ${word}`] : []));
      let top = 0;
      return numbers.flatMap((count, fate) => {
        top += count;
        return count ? [{ x1: new Date(start), x2: new Date(start + chart.width_ms), y1: top - count, y2: top, fate, said }] : [];
      });
    });
    return Plot.plot({
      ...look(170, width),
      x: times(chart, width),
      y: { label: null, grid: true, tickFormat: (value) => (Number.isInteger(value) ? number.format(value) : ""), ticks: 4 },
      marks: [
        Plot.rect(rows, {
          x1: "x1", x2: "x2", y1: "y1", y2: "y2", insetLeft: 0.25, insetRight: 0.25,
          fill: (row) => fates[row.fate][1],
        }),
        Plot.ruleY([0], { stroke: "var(--line)" }),
        Plot.tip(rows, Plot.pointerX({
          x1: "x1", x2: "x2", y: "y2",
          title: (row) => row.said.join("\n"),
        })),
      ],
    });
  }

  // One format for all ticks, precise enough to tell them apart.
  const clock = (ticks, long) =>
    long >= 86400e3 ? "%Y-%m-%d" : ticks.some((tick) => tick % 1000) ? "%H:%M:%S.%L" : "%H:%M:%S";
  const times = (chart, width) => {
    const domain = span(chart);
    const form = (ticks) => clock(ticks, domain[1] - domain[0]);
    // d3 takes the number only as a hint: drop ticks whose labels would overlap.
    let ticks = d3.utcTicks(...domain, Math.max(2, Math.floor(width / 130)));
    while (ticks.length > 2 && ticks.length * 9 * form(ticks).length > width) ticks = ticks.filter((_, place) => place % 2);
    return { type: "utc", label: null, domain, ticks, tickFormat: d3.utcFormat(form(ticks)) };
  };

  const span = (chart) => {
    const bins = chart.bins;
    return [new Date(bins[0][0]), new Date(bins[bins.length - 1][0] + chart.width_ms)];
  };

  function longest(chart, width) {
    const rows = chart.bins
      .filter((bin) => bin[3] !== null && bin[3] > 0)
      .map(([start, , requests, ns]) => ({ x: new Date(start + chart.width_ms / 2), y: ns, requests }));
    if (!rows.length) return null;
    const low = Math.min(...rows.map((row) => row.y)), high = Math.max(...rows.map((row) => row.y));
    const domain = [low / 1.5, high * 1.5];
    return Plot.plot({
      ...look(170, width),
      x: times(chart, width),
      y: { type: "log", label: null, grid: true, domain, ticks: ticks(...domain, 300), tickFormat: duration },
      marks: [
        Plot.ruleX(rows, { x: "x", y1: domain[0], y2: "y", stroke: "var(--faint)" }),
        Plot.dot(rows, { x: "x", y: "y", r: 2.5, fill: (row) => (row.requests ? "var(--wait)" : "var(--ok)") }),
        Plot.tip(rows, Plot.pointerX({
          x: "x", y: "y",
          title: (row) => `slowest ${duration(row.y)}` + (row.requests ? `\n${number.format(row.requests)} module requests` : ""),
        })),
      ],
    });
  }

  // The outline of adjacent bars, which drops to 0 in gaps.
  const outline = (rows) => rows.flatMap((row, place) => {
    const before = rows[place - 1], after = rows[place + 1];
    const points = [[row.low, row.share], [row.high, row.share]];
    if (!before || before.high < row.low) points.unshift([row.low, 0]);
    if (!after || after.low > row.high) points.push([row.high, 0]);
    return points;
  });

  function latency(chart, width) {
    const rows = chart.bins.map(([low, high, share]) => ({ low: Math.max(low, 1), high: Math.max(high, 2), share }));
    const before = (chart.before || []).map(([low, high, share]) => ({ low: Math.max(low, 1), high: Math.max(high, 2), share }));
    const every = [...rows, ...before];
    let low = Math.min(...every.map((row) => row.low)), high = Math.max(...every.map((row) => row.high));
    if (high / low < 10) [low, high] = [low / 3, high * 3]; // a single value would fill the chart
    const percent = (share) => `${+(share * 100).toPrecision(2)} %`;
    const most = Math.max(...every.map((row) => row.share));
    return Plot.plot({
      ...look(150, width),
      x: { type: "log", label: null, domain: [low, high], ticks: ticks(low, high, width), tickFormat: duration },
      y: { type: "sqrt", label: null, grid: true, domain: [0, most * 1.15], ticks: 4, tickFormat: percent },
      marks: [
        Plot.rect(rows, { x1: "low", x2: "high", y1: 0, y2: "share", fill: "var(--ok)", insetLeft: 0.2, insetRight: 0.2 }),
        Plot.line(outline(before), { x: (point) => point[0], y: (point) => point[1], stroke: "var(--before)", strokeWidth: 1.4 }),
        Plot.ruleX(chart.marks, { x: (mark) => mark[1], stroke: "var(--ink)", strokeDasharray: "3,2" }),
        // One label left of its line and one right of it, so that they never overlap.
        ...["end", "start"].map((anchor, place) => Plot.text([chart.marks[place]], {
          x: (mark) => mark[1], y: most * 1.15, text: (mark) => mark[0], dy: -7, fill: "var(--soft)", textAnchor: anchor,
        })),
        Plot.ruleY([0], { stroke: "var(--line)" }),
        Plot.tip(rows, Plot.pointerX({
          x1: "low", x2: "high", y: "share", title: (row) => `${percent(row.share)} from ${duration(row.low)} to ${duration(row.high)}`,
        })),
      ],
    });
  }

  const kinds = { count: counts, longest, latency };
  function draw(place) {
    const chart = charts[place.dataset.chart];
    const made = kinds[place.dataset.what || chart.kind](chart, Math.max(220, place.clientWidth));
    if (made === null) return;
    // The element around it is the labelled image: screen readers must not read the SVG's numbers.
    made.setAttribute("aria-hidden", "true");
    place.replaceChildren(made);
  }

  const places = [...document.querySelectorAll("[data-chart]")];
  const widths = new Map();
  let waiting = 0;
  const drawAll = () => {
    for (const place of places)
      if (widths.get(place) !== place.clientWidth && place.clientWidth) {
        widths.set(place, place.clientWidth);
        draw(place);
      }
    root.dataset.drawn = "yes";
  };
  new ResizeObserver(() => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(drawAll);
  }).observe(document.querySelector("main"));

  document.getElementById("scriptless").remove();
  const theme = document.getElementById("theme");
  const themes = { "": "as the system", light: "light", dark: "dark" };
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const names = Object.keys(themes);
    const next = names[(names.indexOf(root.dataset.theme || "") + 1) % names.length];
    root.dataset.theme = next;
    theme.querySelector("span").textContent = themes[next];
  });

  for (const button of document.querySelectorAll("button.all")) {
    const list = document.getElementById(button.dataset.list);
    button.hidden = false;
    button.addEventListener("click", () => {
      const traces = [...list.querySelectorAll("details")];
      const open = traces.some((trace) => !trace.open);
      for (const trace of traces) trace.open = open;
      button.textContent = open ? "Close all" : "Open all";
    });
  }
})();
