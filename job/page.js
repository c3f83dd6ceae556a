"use strict";
(async () => {
  const packed = Uint8Array.from(
    atob(document.getElementById("plotly").textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const hidden = new Set();  // names that the reader switched off in the legend
  const charts = [...document.querySelectorAll("figure")].map((figure) => ({
    box: figure.querySelector(".chart"),
    select: figure.querySelector("select"),
    figures: JSON.parse(figure.querySelector("script").textContent),
  }));

  function theme() {
    const axis = {
      gridcolor: css("--line"), linecolor: css("--line"), zerolinecolor: css("--quiet"),
      automargin: true, zerolinewidth: 1,
    };
    return { layout: {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: css("--ink"), family: getComputedStyle(document.body).fontFamily, size: 12 },
      hoverlabel: { bgcolor: css("--shade"), bordercolor: css("--line"),
        font: { color: css("--ink") }, namelength: -1, align: "left" },
      legend: { orientation: "h", y: -0.2, yanchor: "top" },
      margin: { l: 48, r: 12, t: 12, b: 40 }, xaxis: axis, yaxis: axis,
      height: 300, showlegend: false,
    } };
  }

  function draw(chart) {
    const { data, layout } = chart.figures[chart.select ? chart.select.selectedIndex : 0];
    const shown = data.map((trace) =>
      hidden.has(trace.legendgroup) ? { ...trace, visible: false } : trace);
    return Plotly.react(chart.box, shown, { ...layout, template: theme(), autosize: true },
      { displaylogo: false, displayModeBar: false });
  }

  const drawAll = () => charts.forEach(draw);
  charts.forEach((chart) => chart.select?.addEventListener("change", () => draw(chart)));
  document.querySelectorAll("nav button").forEach((button) =>
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") === "false";
      button.setAttribute("aria-pressed", String(on));
      hidden[on ? "delete" : "add"](button.dataset.name.replace(/[&<>]/g,
        (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]));
      drawAll();
    }));
  for (const query of ["(prefers-color-scheme: dark)", "print"])
    matchMedia(query).addEventListener("change", drawAll);
  await Promise.all(charts.map(draw));
  // A box changes its width without the window, too: where a scroll bar comes.
  const observer = new ResizeObserver((boxes) =>
    boxes.forEach(({ target }) => Plotly.Plots.resize(target)));
  charts.forEach(({ box }) => observer.observe(box));
  document.documentElement.dataset.drawn = charts.length;
})();
