"use strict";
(() => {
  const byId = id => document.getElementById(id);
  const facts = JSON.parse(byId("facts").textContent);
  const [nx, ny, nz] = facts.size;
  const [sx, sy, sz] = facts.spacing;
  const size = facts.size, spacing = facts.spacing, nodes = facts.nodes;
  // Axes of the images: 0 from right to left, 1 from front to back, 2 from head to feet.
  const planes = [
    { name: "axial", across: 0, down: 1, normal: 2, letters: "RLAP" },
    { name: "coronal", across: 0, down: 2, normal: 1, letters: "RLSI" },
    { name: "sagittal", across: 1, down: 2, normal: 0, letters: "APSI" },
  ];
  const keys = ["x", "y", "z"];
  const strides = [1, nx, nx * ny];
  const views = {
    checkerboard: ["Size of the squares", "Checkerboard", "Squares of the fixed scan and of the OTHER in turn. Edges should go on from square to square."],
    curtain: ["Curtain", "Curtain", "Left of the curtain the fixed scan, right of it the OTHER."],
    blend: ["Fixed ↔ other", "Blend", "The fixed scan fades into the OTHER. Nothing should jump."],
    difference: ["Brightness", "Difference", "Black where both are alike. Blue: brighter in the fixed scan; orange: brighter in the OTHER. Says little for scans of different kinds."],
  };
  const outlineColours = ["#ffd166", "#5ad1e6", "#f78fb3", "#9be564", "#c9a7ff", "#ff9f6b", "#7fe0c3", "#f4f1de"];
  // Outlines of very many labels would hide what they lie on.
  const state = { x: nx >> 1, y: ny >> 1, z: nz >> 1, view: "checkerboard", with: "moved", slide: 50, zoom: 1, outlines: facts.labels.length <= 12, cross: false };
  const images = {};
  const panels = [];

  const bytesOf = async id => {
    const text = byId(id).textContent;
    if (text === "") return null;
    const packed = Uint8Array.from(atob(text), c => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  };

  // Undoes the filter of PackedImage.Smooth.
  const smooth = async id => {
    const v = await bytesOf(id);
    for (let z = 0, i = 0; z < nz; z++)
      for (let y = 0; y < ny; y++)
        for (let x = 0; x < nx; x++, i++)
          v[i] += ((x > 0 ? v[i - 1] : 0) + (y > 0 ? v[i - nx] : 0)) >> 1;
    return v;
  };

  // Undoes PackedImage.Vectors: in voxels of the node lattice.
  const vectors = async id => {
    const bytes = await bytesOf(id);
    const count = bytes.length / 2;
    const whole = new Int16Array(count);
    const result = new Float32Array(count);
    for (let i = 0; i < count; i++) {
      const difference = bytes[i] | (bytes[count + i] << 8);
      whole[i] = i % nodes[0] === 0 ? difference : whole[i - 1] + difference;
      result[i] = whole[i] * facts.unit;
    }
    return result;
  };

  const extent = axis => size[axis] * spacing[axis];

  // One slice of an image.
  const slice = (image, plane) => {
    const w = size[plane.across], h = size[plane.down];
    const result = new Uint8Array(w * h);
    const start = state[keys[plane.normal]] * strides[plane.normal];
    for (let j = 0, k = 0; j < h; j++) {
      let i = start + j * strides[plane.down];
      for (let c = 0; c < w; c++, k++, i += strides[plane.across]) result[k] = image[i];
    }
    return result;
  };

  const coloured = (plane, colour) => {
    const w = size[plane.across], h = size[plane.down];
    const canvas = document.createElement("canvas");
    canvas.width = w;
    canvas.height = h;
    const context = canvas.getContext("2d");
    const data = context.createImageData(w, h);
    for (let i = 0, k = 0; i < w * h; i++, k += 4) {
      const [r, g, b] = colour(i);
      data.data[k] = r; data.data[k + 1] = g; data.data[k + 2] = b; data.data[k + 3] = 255;
    }
    context.putImageData(data, 0, 0);
    return canvas;
  };

  const grey = (image, plane, strength = 1) => {
    const values = slice(image, plane);
    return coloured(plane, i => { const v = values[i] * strength; return [v, v, v]; });
  };

  const difference = (plane, other) => {
    const a = slice(images.fixed, plane), b = slice(other, plane);
    const gain = Math.pow(2, state.slide / 25 - 1);
    return coloured(plane, i => {
      const d = (b[i] - a[i]) * gain;
      return d > 0 ? [d, d * .62, d * .25] : [-d * .25, -d * .58, -d];
    });
  };

  const change = plane => {
    const values = slice(images.change, plane), below = slice(images.fixed, plane);
    return coloured(plane, i => {
      if (values[i] === 255) return [255, 42, 163];
      const t = Math.max(-1, Math.min(1, (values[i] - 127) / 126)), v = below[i] * .6;
      const alpha = Math.min(.9, Math.pow(Math.abs(t), .7) * 1.1);
      const [r, g, b] = t > 0 ? [240, 138, 36] : [47, 125, 225];
      return [v + (r - v) * alpha, v + (g - v) * alpha, v + (b - v) * alpha];
    });
  };

  const paint = (context, image, width, height) => {
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, width, height);
  };

  // Along the edges of voxels, each in the colour of its label.
  const outline = (context, labels, plane, width, height, dashed = false) => {
    if (!labels || !state.outlines) return;
    context.setLineDash(dashed ? [3, 4] : []);
    const values = slice(labels, plane);
    const w = size[plane.across], h = size[plane.down];
    const px = width / w, py = height / h;
    const paths = new Map();
    const line = (label, x0, y0, x1, y1) => {
      if (!paths.has(label)) paths.set(label, new Path2D());
      const path = paths.get(label);
      path.moveTo(x0 * px, y0 * py);
      path.lineTo(x1 * px, y1 * py);
    };
    for (let j = 0, i = 0; j < h; j++)
      for (let c = 0; c < w; c++, i++) {
        const here = values[i];
        const right = c + 1 < w ? values[i + 1] : 0, under = j + 1 < h ? values[i + w] : 0;
        if (here !== right) line(here || right, c + 1, j, c + 1, j + 1);
        if (here !== under) line(here || under, c, j + 1, c + 1, j + 1);
      }
    context.lineWidth = 1.4;
    context.lineCap = "round";
    for (const [label, path] of paths) {
      context.strokeStyle = dashed ? "#fff" : outlineColours[(label - 1) % outlineColours.length];
      context.stroke(path);
    }
    context.setLineDash([]);
  };

  // Outlines of the moved (or moving) labels, and what they should lie on.
  const outlines = (context, labels, plane, width, height) => {
    outline(context, labels, plane, width, height);
    outline(context, images.fixedLabels, plane, width, height, true);
  };

  const gridLines = (context, plane, width, height) => {
    const [mx, my] = nodes, count = mx * nodes[1] * nodes[2];
    const step = facts.step, nodeStrides = [1, mx, mx * my];
    const px = width / size[plane.across], py = height / size[plane.down];
    const layer = Math.min(nodes[plane.normal] - 1, Math.round(state[keys[plane.normal]] / step));
    const every = Math.max(1, Math.round(12 / (step * Math.min(px, py))));
    const at = (a, b) => {
      const i = a * nodeStrides[plane.across] + b * nodeStrides[plane.down] + layer * nodeStrides[plane.normal];
      return [((a + images.vectors[i + plane.across * count]) * step + .5) * px, ((b + images.vectors[i + plane.down * count]) * step + .5) * py];
    };
    context.strokeStyle = "rgba(120, 195, 255, .75)";
    context.lineWidth = 1;
    context.lineJoin = "round";
    context.beginPath();
    const na = nodes[plane.across], nb = nodes[plane.down];
    for (let b = 0; b < nb; b += every)
      for (let a = 0; a < na; a++) { const [x, y] = at(a, b); if (a === 0) context.moveTo(x, y); else context.lineTo(x, y); }
    for (let a = 0; a < na; a += every)
      for (let b = 0; b < nb; b++) { const [x, y] = at(a, b); if (b === 0) context.moveTo(x, y); else context.lineTo(x, y); }
    context.stroke();
  };

  const compare = (context, plane, width, height) => {
    const other = images[state.with];
    if (state.view === "difference") { paint(context, difference(plane, other), width, height); return; }
    paint(context, grey(images.fixed, plane), width, height);
    const over = grey(other, plane);
    context.save();
    if (state.view === "blend") context.globalAlpha = state.slide / 100;
    else {
      context.beginPath();
      if (state.view === "curtain") context.rect(width * state.slide / 100, 0, width, height);
      else {
        // The same number of millimetres in all three planes.
        const side = Math.max(...[0, 1, 2].map(extent)) * (.02 + .0046 * state.slide) * width / extent(plane.across);
        for (let j = 0; j * side < height; j++)
          for (let i = (j + 1) % 2; i * side < width; i += 2) context.rect(i * side, j * side, side, side);
      }
      context.clip();
    }
    paint(context, over, width, height);
    context.restore();
    if (state.view === "curtain") {
      context.fillStyle = "rgba(255, 255, 255, .7)";
      context.fillRect(width * state.slide / 100 - .5, 0, 1, height);
    }
  };

  const rows = {
    fixed: (c, p, w, h) => { paint(c, grey(images.fixed, p), w, h); outline(c, images.fixedLabels || images.movedLabels, p, w, h); },
    moving: (c, p, w, h) => { paint(c, grey(images.moving, p), w, h); outline(c, images.movingLabels, p, w, h); },
    moved: (c, p, w, h) => { paint(c, grey(images.moved, p), w, h); outlines(c, images.movedLabels, p, w, h); },
    compare: (c, p, w, h) => { compare(c, p, w, h); outlines(c, state.with === "moved" ? images.movedLabels : images.movingLabels, p, w, h); },
    grid: (c, p, w, h) => { paint(c, grey(images.moving, p, .55), w, h); gridLines(c, p, w, h); },
    change: (c, p, w, h) => paint(c, change(p), w, h),
  };

  const letters = (context, plane, width, height) => {
    const [left, right, top, bottom] = plane.letters;
    context.font = "600 12px system-ui, sans-serif";
    context.fillStyle = "#fff";
    context.strokeStyle = "rgba(0, 0, 0, .75)";
    context.lineWidth = 3;
    context.textAlign = "center";
    context.textBaseline = "middle";
    const write = (letter, x, y) => { context.strokeText(letter, x, y); context.fillText(letter, x, y); };
    write(left, 9, height / 2);
    write(right, width - 9, height / 2);
    if (height > 48) {
      write(top, width / 2, 10);
      write(bottom, width / 2, height - 9);
    }
  };

  // A round length, the same one in all planes.
  const scaleBar = (context, plane, width, height) => {
    const pixels = width * state.zoom / extent(plane.across);
    const most = .35 * Math.min(...planes.map(p => extent(p.across))) / state.zoom;
    const length = [500, 200, 100, 50, 20, 10, 5, 2, 1, .5].find(mm => mm <= most) || .2;
    const x = 8, y = height - 8;
    context.strokeStyle = "rgba(0, 0, 0, .75)";
    context.fillStyle = "#fff";
    context.lineWidth = 3;
    context.strokeRect(x, y - 3, length * pixels, 3);
    context.fillRect(x, y - 3, length * pixels, 3);
    context.font = "600 11px system-ui, sans-serif";
    context.textAlign = "left";
    context.textBaseline = "alphabetic";
    context.strokeText(`${length} mm`, x, y - 7);
    context.fillText(`${length} mm`, x, y - 7);
  };

  // Where a zoomed picture begins, in its own pixels: the place that is looked at stays in the middle as far as that goes.
  const corner = (plane, width, height) => [[plane.across, width], [plane.down, height]].map(([axis, length]) => {
    const place = (state[keys[axis]] + .5) / size[axis] * length;
    return Math.max(0, Math.min(length - length / state.zoom, place - length / state.zoom / 2));
  });

  const crossHair = (context, plane, width, height) => {
    const x = (state[keys[plane.across]] + .5) * width / size[plane.across];
    const y = (state[keys[plane.down]] + .5) * height / size[plane.down];
    context.strokeStyle = "rgba(255, 255, 255, .55)";
    context.lineWidth = 1;
    context.setLineDash([3, 4]);
    context.beginPath();
    context.moveTo(x, 0); context.lineTo(x, height);
    context.moveTo(0, y); context.lineTo(width, y);
    context.stroke();
    context.setLineDash([]);
  };

  const draw = panel => {
    const { canvas, plane, width, height } = panel;
    const ratio = Math.min(3, window.devicePixelRatio || 1);
    canvas.width = Math.max(1, Math.round(width * ratio));
    canvas.height = Math.max(1, Math.round(height * ratio));
    const context = canvas.getContext("2d");
    context.scale(canvas.width / width, canvas.height / height);
    const [left, top] = corner(plane, width, height);
    context.save();
    context.scale(state.zoom, state.zoom);
    context.translate(-left, -top);
    rows[panel.row](context, plane, width, height);
    if (state.cross) crossHair(context, plane, width, height);
    context.restore();
    letters(context, plane, width, height);
    scaleBar(context, plane, width, height);
  };

  // One scale, pixels for a millimetre, for all three planes.
  const layOut = () => {
    const heads = [...document.querySelectorAll(".head .column")].map(column => column.clientWidth);
    const scale = Math.min(
      ...planes.map((plane, i) => heads[i] / extent(plane.across)),
      ...planes.map(plane => 560 / extent(plane.down)));
    for (const panel of panels) {
      panel.width = Math.max(24, extent(panel.plane.across) * scale);
      panel.height = Math.max(12, extent(panel.plane.down) * scale);
      panel.canvas.style.width = panel.width + "px";
      panel.canvas.style.height = panel.height + "px";
    }
  };

  const show = () => {
    for (const [i, key] of keys.entries()) {
      byId(key).value = state[key];
      byId(key + "place").textContent = `slice ${state[key] + 1} of ${size[i]}`;
    }
    const other = state.with === "moved" ? "moved scan" : "moving scan, before the deformation";
    const [slideName, name, text] = views[state.view];
    byId("slidename").textContent = slideName;
    byId("slide").value = state.slide;
    byId("slide").setAttribute("aria-valuetext", `${slideName} ${state.slide} %`);
    byId("comparename").textContent = `${name}, ${state.with === "moved" ? "after" : "before"}`;
    byId("comparetext").textContent = text.replace("OTHER", other);
    for (const choice of ["view", "with"])
      for (const input of document.getElementsByName(choice)) input.checked = input.value === state[choice];
    byId("outlines").checked = state.outlines;
    byId("cross").checked = state.cross;
    panels.forEach(draw);
  };

  let waiting = false;
  const soon = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; show(); });
  };

  // The address says what is shown, so that a place can be passed on.
  const remember = () => {
    const { x, y, z, view, slide } = state;
    try { history.replaceState(null, "", `#${new URLSearchParams({ x, y, z, view, with: state.with, slide })}`); } catch { /* some browsers forbid it for files */ }
  };

  const recall = () => {
    const wanted = new URLSearchParams(location.hash.slice(1));
    const number = (key, most) => {
      const value = parseInt(wanted.get(key), 10);
      if (value >= 0 && value <= most) state[key] = value;
    };
    keys.forEach((key, i) => number(key, size[i] - 1));
    number("slide", 100);
    if (Object.hasOwn(views, wanted.get("view"))) state.view = wanted.get("view");
    if (["moving", "moved"].includes(wanted.get("with"))) state.with = wanted.get("with");
  };

  const build = () => {
    const widths = planes.map(plane => Math.max(extent(plane.across), .35 * Math.max(...[0, 1, 2].map(extent))));
    byId("viewer").style.setProperty("--columns", widths.map(w => `minmax(0, ${(w / Math.max(...widths)).toFixed(4)}fr)`).join(" "));
    for (const row of document.querySelectorAll(".row[data-row]"))
      for (const [i, plane] of planes.entries()) {
        const canvas = document.createElement("canvas");
        const holder = document.createElement("div");
        const panel = { canvas, plane, row: row.dataset.row, width: 1, height: 1 };
        holder.className = "panel";
        canvas.dataset.plane = plane.name;
        // On paper: the share of its column that keeps one scale.
        canvas.style.setProperty("--share", `${100 * extent(plane.across) / widths[i]}%`);
        canvas.setAttribute("role", "img");
        canvas.setAttribute("aria-label", `${row.querySelector("h4").textContent || "Comparison"}, ${plane.name} slice`);
        canvas.addEventListener("click", event => {
          const box = canvas.getBoundingClientRect();
          const place = (axis, share) => { state[keys[axis]] = Math.max(0, Math.min(size[axis] - 1, Math.floor(share * size[axis]))); };
          const [left, top] = corner(plane, panel.width, panel.height);
          place(plane.across, left / panel.width + (event.clientX - box.left) / box.width / state.zoom);
          place(plane.down, top / panel.height + (event.clientY - box.top) / box.height / state.zoom);
          remember();
          soon();
        });
        holder.append(canvas);
        row.append(holder);
        panels.push(panel);
      }
    keys.forEach((key, i) => {
      byId(key).max = size[i] - 1;
      byId(key).addEventListener("input", event => { state[key] = +event.target.value; remember(); soon(); });
    });
    byId("slide").addEventListener("input", event => { state.slide = +event.target.value; remember(); soon(); });
    for (const choice of ["view", "with"])
      for (const input of document.getElementsByName(choice))
        input.addEventListener("change", () => { state[choice] = input.value; remember(); soon(); });
    byId("zoom").addEventListener("change", event => { state.zoom = +event.target.value; soon(); });
    for (const box of ["outlines", "cross"]) byId(box).addEventListener("change", event => { state[box] = event.target.checked; soon(); });
    new ResizeObserver(() => { layOut(); soon(); }).observe(byId("viewer"));
    window.addEventListener("hashchange", () => { recall(); soon(); });
  };

  const start = async () => {
    [images.fixed, images.moving, images.moved, images.change] =
      await Promise.all(["fixedimage", "movingimage", "movedimage", "jacobian"].map(smooth));
    [images.fixedLabels, images.movingLabels, images.movedLabels] = await Promise.all(["fixedlabels", "movinglabels", "movedlabels"].map(bytesOf));
    images.vectors = await vectors("vectors");
    byId("viewer").hidden = false;
    byId("problem").hidden = true;
    recall();
    build();
    layOut();
    show();
    document.documentElement.dataset.ready = "yes";
  };

  start();
})();
