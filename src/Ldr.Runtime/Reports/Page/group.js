"use strict";
(() => {
  const byId = id => document.getElementById(id);
  const { measures, pairs, notable } = JSON.parse(byId("facts").textContent);
  const [ID, FOLDER, VERDICT, SCORE, REASON, REASONS, PICTURE, REPORT, RESULT, VALUES] = Array.from({ length: 10 }, (_, i) => i);
  const OFF = VALUES + measures.length;
  const verdicts = ["unusable", "failed", "look", "ok"];
  const state = { verdict: "all", sort: -1, turned: false, shown: [], drawn: 0 };
  const chunk = 60;

  const make = (name, className, text) => {
    const element = document.createElement(name);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const number = (value, unit) => value === null ? "–"
    : (unit === "%" || Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(3)) + (unit ? " " + unit : "");
  const address = (folder, name) => (folder === "." ? [] : folder.split("/")).concat(name).map(encodeURIComponent).join("/");
  const link = (folder, name, text) => {
    const a = make("a", "", text);
    a.href = address(folder, name);
    return a;
  };

  const picture = pair => {
    if (!pair[PICTURE]) return make("div", "pic");
    const a = link(pair[FOLDER], pair[REPORT] || pair[PICTURE], "");
    const image = make("img");
    image.loading = "lazy";
    image.width = 300;
    image.height = 100;
    image.alt = "Three planes of " + pair[ID];
    image.src = address(pair[FOLDER], pair[PICTURE]);
    a.append(image);
    return a;
  };

  const row = pair => {
    const element = make("article", "pair"), text = make("div"), who = make("p", "who");
    who.append(make("bdi", "id", pair[ID]), make("span", "word " + pair[VERDICT], pair[VERDICT]));
    if (pair[SCORE] !== null) who.append(make("span", "score", "score " + pair[SCORE].toFixed(1)));
    if (pair[REPORT]) who.append(link(pair[FOLDER], pair[REPORT], "report"));
    if (pair[PICTURE]) who.append(link(pair[FOLDER], pair[PICTURE], "picture"));
    who.append(link(pair[FOLDER], pair[RESULT], "numbers"));
    text.append(who);
    if (pair[REASON]) text.append(make("p", "reason", pair[REASON]));
    if (pair[REASONS].length) text.append(make("p", "reason", "Verdict: " + pair[REASONS].slice(0, 2).join("; ") + (pair[REASONS].length > 2 ? `; and ${pair[REASONS].length - 2} more` : "")));
    if (pair[VERDICT] !== "unusable") {
      const values = make("p", "values");
      measures.forEach((measure, i) => {
        if (pair[VALUES + i] === null) return;
        const off = pair[OFF + i] !== null && pair[OFF + i] >= notable;
        const part = make(off ? "b" : "span", "", `${measure.name} ${number(pair[VALUES + i], measure.unit)}`);
        part.title = measure.words;
        if (values.childNodes.length) values.append(" · ");
        values.append(part);
      });
      text.append(values);
    }
    element.append(picture(pair), text);
    return element;
  };

  const more = () => {
    const part = document.createDocumentFragment();
    for (const pair of state.shown.slice(state.drawn, state.drawn + chunk)) part.append(row(pair));
    state.drawn = Math.min(state.drawn + chunk, state.shown.length);
    byId("pairs").append(part);
  };

  // Worse first; what was not measured comes last.
  const order = pair => {
    if (state.sort === -2) return 0;
    const value = state.sort < 0 ? (pair[VERDICT] === "unusable" ? Infinity : pair[SCORE]) : pair[VALUES + state.sort];
    if (value === null) return null;
    if (state.sort < 0) return value;
    const measure = measures[state.sort];
    return measure.bad === "low" ? -value : measure.bad === "high" ? value : Math.abs(value - measure.median);
  };

  const update = () => {
    const words = byId("find").value.toLowerCase().split(/\s+/).filter(word => word);
    state.shown = pairs.filter(pair => (state.verdict === "all" || pair[VERDICT] === state.verdict)
      && words.every(word => pair[ID].toLowerCase().includes(word) || pair[REASON].toLowerCase().includes(word) || pair[REASONS].join(" ").toLowerCase().includes(word)));
    const way = state.turned ? -1 : 1;
    const keyed = state.shown.map(pair => [order(pair), pair]);
    keyed.sort(([a, p], [b, q]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return a === b ? (p[ID] < q[ID] ? -way : way) : a > b ? -way : way;
    });
    state.shown = keyed.map(([, pair]) => pair);
    state.drawn = 0;
    byId("pairs").replaceChildren();
    byId("shown").textContent = `${state.shown.length} of ${pairs.length} pairs`;
    byId("sort").value = state.sort;
    for (const plot of byId("plots").children) plot.classList.toggle("chosen", Number(plot.dataset.measure) === state.sort);
    more();
  };

  const bins = 32;
  const plot = (measure, i) => {
    const values = pairs.map(pair => pair[VALUES + i]).filter(value => value !== null).sort((a, b) => a - b);
    const button = make("button", "plot");
    button.type = "button";
    button.dataset.measure = i;
    button.title = measure.words;
    // What lies farther off than twelve deviations would squeeze all others together: it is counted in the outermost bar.
    const far = 12 * measure.deviation;
    const low = Math.max(values[0], measure.median - far), high = Math.min(values[values.length - 1], measure.median + far);
    const name = (value, end) => (value === end ? "" : end > value ? "≥ " : "≤ ") + number(value, measure.unit);
    const canvas = make("canvas"), ends = make("div", "ends");
    let [from, to] = [low, high], [first, last] = [name(low, values[0]), name(high, values[values.length - 1])];
    if (measure.bad === "low") [from, to, first, last] = [high, low, last, first];
    ends.append(make("span", "", first), make("span", "", last));
    button.append(make("b", "", measure.name), canvas, ends);
    button.addEventListener("click", () => { state.sort = i; state.turned = byId("turn").checked = false; update(); });
    const counts = new Array(bins).fill(0), suspicious = new Array(bins).fill(0);
    for (const pair of pairs) {
      const value = pair[VALUES + i];
      if (value === null) continue;
      const bin = from === to ? 0 : Math.max(0, Math.min(bins - 1, Math.floor((value - from) / (to - from) * bins)));
      counts[bin]++;
      if (pair[OFF + i] !== null && pair[OFF + i] >= notable) suspicious[bin]++;
    }
    canvas.width = 8 * bins;
    canvas.height = 60;
    const draw = canvas.getContext("2d"), style = getComputedStyle(document.documentElement), most = Math.max(...counts);
    counts.forEach((count, bin) => {
      if (!count) return;
      // By the root, so that a single pair is seen beside hundreds.
      const height = Math.max(4, 60 * Math.sqrt(count / most));
      draw.fillStyle = style.getPropertyValue(suspicious[bin] * 2 >= count ? "--failed" : "--accent");
      draw.fillRect(8 * bin, 60 - height, 7, height);
    });
    return button;
  };

  const choose = (name, count) => {
    const label = make("label"), input = make("input");
    input.type = "radio";
    input.name = "verdict";
    input.checked = name === "all";
    input.addEventListener("change", () => { state.verdict = name; update(); });
    label.append(input, make("span", "", `${name} ${count}`));
    return label;
  };

  byId("verdicts").append(choose("all", pairs.length));
  for (const name of verdicts) {
    const count = pairs.filter(pair => pair[VERDICT] === name).length;
    if (count) byId("verdicts").append(choose(name, count));
  }
  const sorts = [[-1, "score"], [-2, "name"], ...measures.map((measure, i) => [i, measure.name])];
  for (const [value, text] of sorts) {
    const option = make("option", "", text);
    option.value = value;
    byId("sort").append(option);
  }
  byId("sort").addEventListener("change", () => { state.sort = Number(byId("sort").value); update(); });
  byId("turn").addEventListener("change", () => { state.turned = byId("turn").checked; update(); });
  byId("find").addEventListener("input", update);
  byId("plots").append(...measures.map(plot));
  new IntersectionObserver(entries => {
    if (entries.some(entry => entry.isIntersecting) && state.drawn < state.shown.length) more();
  }, { rootMargin: "1200px" }).observe(byId("end"));
  byId("problem").hidden = true;
  byId("viewer").hidden = false;
  update();
})();
