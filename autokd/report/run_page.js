"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const palettes = JSON.parse(document.getElementById("palettes").textContent);
  const root = document.documentElement;
  const button = document.getElementById("theme");

  const theme = () => root.dataset.theme;

  // words such as "@0" and "@ink" become the theme's colours
  const coloured = (value, palette) => {
    if (typeof value === "string") return value.startsWith("@") && value in palette ? palette[value] : value;
    if (Array.isArray(value)) return value.map((one) => coloured(one, palette));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, coloured(one, palette)]));
    }
    return value;
  };

  const draw = (place) => {
    const chart = charts[place.dataset.chart];
    const palette = palettes[theme()];
    const narrow = place.clientWidth < 520;
    const { data, layout } = coloured(chart, palette);
    const grid = { gridcolor: palette["@line"], linecolor: palette["@line"] };
    const full = {
      ...layout,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: narrow ? 11 : 13, color: palette["@ink"] },
      margin: { l: narrow ? 40 : 60, r: 12, t: 12, b: 60 },
      legend: {
        orientation: "h", x: 0, xanchor: "left", yref: "container", y: 0, yanchor: "bottom", font: { size: narrow ? 10 : 12 },
      },
      hoverlabel: { align: "left" },
      hovermode: "closest",
      dragmode: narrow ? false : "zoom", // so that a finger on a figure scrolls the page
      xaxis: { ...layout.xaxis, ...grid },
      yaxis: { ...layout.yaxis, ...grid },
    };
    if (narrow && (full.xaxis.ticktext || []).some((word) => word.length > 6)) full.xaxis.tickangle = -35;
    window.Plotly.react(place, data, full, { displayModeBar: false, displaylogo: false, responsive: true });
    place.dataset.drawn = theme();
  };

  const drawSeen = () => {
    for (const place of document.querySelectorAll(".plot")) {
      if (place.offsetParent !== null && place.dataset.drawn !== theme()) draw(place);
    }
  };

  const choose = (tab) => {
    for (const other of tab.parentElement.querySelectorAll("[role=tab]")) {
      const chosen = other === tab;
      other.setAttribute("aria-selected", String(chosen));
      other.tabIndex = chosen ? 0 : -1;
      document.getElementById(other.getAttribute("aria-controls")).hidden = !chosen;
    }
    drawSeen();
  };

  for (const tab of document.querySelectorAll("[role=tab]")) {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const all = [...tab.parentElement.querySelectorAll("[role=tab]")];
      const next = all[(all.indexOf(tab) + step + all.length) % all.length];
      next.focus();
      choose(next);
      event.preventDefault();
    });
  }

  const wear = (name) => {
    root.dataset.theme = name;
    button.textContent = name === "dark" ? "Light page" : "Dark page";
    drawSeen();
  };
  button.addEventListener("click", () => wear(theme() === "dark" ? "light" : "dark"));
  wear(window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
})();
