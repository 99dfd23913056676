// Uses the page as a person does, in headless Chromium: node person.cjs SCENE LINK FILES…
// Prints what it found as one JSON object. NODE_PATH leads to playwright-core, CHROMIUM is the browser.
const fs = require("fs");
const { chromium } = require("playwright-core");

const [scene, link, ...files] = process.argv.slice(2);

// A software renderer, and no call to anybody's servers.
const quiet = [
  "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];

/** Pixels of a viewer, as they are on the screen. */
async function pixels(page, selector) {
  await page.waitForTimeout(150);
  return (await page.locator(selector).screenshot()).toString("base64");
}

/** The share of pixels that differ between two pictures. */
function difference(page, a, b) {
  return page.evaluate(async ([a, b]) => {
    const read = async (text) => {
      const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
      const image = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
      const context = new OffscreenCanvas(image.width, image.height).getContext("2d");
      context.drawImage(image, 0, 0);
      return context.getImageData(0, 0, image.width, image.height).data;
    };
    const [p, q] = [await read(a), await read(b)];
    let differ = 0;
    for (let i = 0; i < p.length; i += 4) {
      if (Math.abs(p[i] - q[i]) + Math.abs(p[i + 1] - q[i + 1]) + Math.abs(p[i + 2] - q[i + 2]) > 24) differ++;
    }
    return differ / (p.length / 4);
  }, [a, b]);
}

const result = ".compare .stage";
const place = (page, index) => page.locator(".viewer .place").nth(index).innerText();
const millimetres = (text) => text.split(" mm")[0].split(", ").map(Number);
const apart = (a, b) => Math.hypot(...millimetres(a).map((v, i) => v - millimetres(b)[i]));

async function give(page, fixed, moving) {
  await page.setInputFiles("#file-fixed", fixed);
  await page.setInputFiles("#file-moving", moving);
  await page.waitForFunction(() => document.querySelectorAll(".viewer.filled").length === 2);
}

async function shown(page, button) {
  await button();
  await page.waitForSelector("body[data-shown]");
  await page.waitForTimeout(300);
}

const scenes = {
  async register(page, [fixed, moving, labels, fixedLabels]) {
    const found = {};
    // Both scans at once, dropped beside the places for them.
    const transfer = await page.evaluateHandle(
      (given) => {
        const data = new DataTransfer();
        for (const [name, text] of given) data.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name));
        return data;
      },
      [["fixed.nii.gz", fixed], ["moving.nii.gz", moving]].map(([name, file]) => [name, fs.readFileSync(file, "base64")]),
    );
    await page.dispatchEvent("main", "drop", { dataTransfer: transfer });
    await page.waitForFunction(() => document.querySelectorAll(".viewer.filled").length === 2);
    await page.click("text=Labels, masks, points");
    await page.setInputFiles("#file-labels", labels);
    await page.setInputFiles("#file-fixed_labels", fixedLabels);
    await page.waitForFunction(() => document.querySelectorAll(".slot.filled").length === 4);
    await shown(page, () => page.click("text=Register"));
    found.token_in_address = page.url().includes("token");
    found.verdict = await page.locator(".verdict").innerText();
    found.labels = await page.locator(".labels summary").innerText();
    found.command = await page.locator(".command code").innerText();
    const before = await pixels(page, result);
    await page.locator("#amount").fill("5");
    found.blend = await difference(page, before, await pixels(page, result));
    for (const mode of ["checker", "difference", "jacobian"]) {
      await page.click(`[data-mode=${mode}]`);
      await page.waitForTimeout(400);
      found[mode] = await difference(page, before, await pixels(page, result));
    }
    await page.click("[data-mode=blend]");
    const plain = await pixels(page, result);
    await page.click("label[for=grid]");
    found.grid = await difference(page, plain, await pixels(page, result));
    await page.click("label[for=grid]");
    await page.click("label[for=outline]");
    found.outline = await difference(page, plain, await pixels(page, result));
    // A click into the result moves the cross-hair of the fixed scan.
    const old = await place(page, 1);
    await page.locator(`${result} canvas`).first().click({ position: { x: 60, y: 80 } });
    await page.waitForTimeout(200);
    found.cross = old === "" ? 1 : apart(old, await place(page, 1));
    await page.locator("select[aria-label='Transform: format']").selectOption(".mha");
    const [download] = await Promise.all([page.waitForEvent("download"), page.click("a[data-name=transform]")]);
    found.saved = fs.readFileSync(await download.path(), "base64");
    await page.setInputFiles("#apply", moving);
    const link = page.locator(".apply output a");
    await link.waitFor();
    found.applied = await link.getAttribute("download");
    return found;
  },

  /** Scans of several files: the first two are those of the fixed one, the others those of the moving one. */
  async parts(page, files) {
    const grid = (role) => page.locator(`[data-role=${role}] .name`).getAttribute("title");
    await give(page, files.slice(0, 2), files.slice(2));
    return { fixed: await grid("fixed"), moving: await grid("moving") };
  },

  async trouble(page, [broken, fixed, moving]) {
    const found = {};
    await page.setInputFiles("#file-fixed", broken);
    const told = page.locator(".slot.wrong .name");
    await told.waitFor();
    found.broken = await told.innerText();
    await give(page, fixed, moving);
    await page.click("text=Options");
    await page.selectOption("#model", "none");
    await page.fill("#refine", "10000");
    await page.click("text=Register");
    await page.locator(".verdict.running").waitFor();
    await page.waitForTimeout(300);
    await page.click("text=Cancel");
    const said = page.locator(".verdict.failed");
    await said.waitFor();
    found.cancelled = await said.innerText();
    return found;
  },

  async keyboard(page, [fixed, moving]) {
    const found = {};
    await page.setViewportSize({ width: 1024, height: 768 });
    const chosen = [fixed, moving];
    page.on("filechooser", (chooser) => chooser.setFiles(chosen.shift()));
    for (const [id, count] of [["file-fixed", 1], ["file-moving", 2]]) {
      for (let i = 0; i < 12 && (await page.evaluate(() => document.activeElement.id)) !== id; i++) await page.keyboard.press("Tab");
      await page.waitForTimeout(200);
      // The browser's own dialog opens.
      await page.keyboard.press("Space");
      await page.waitForFunction((n) => document.querySelectorAll(".viewer.filled").length === n, count);
    }
    await shown(page, () => page.keyboard.press("r"));
    await page.keyboard.press("3");
    found.mode = await page.locator("[aria-checked=true]").getAttribute("data-mode");
    await page.evaluate(() => document.querySelector(".compare canvas").focus());
    await page.keyboard.press("ArrowRight");
    const from = await place(page, 0);
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("PageUp");
    await page.waitForTimeout(150);
    found.cross = apart(from, await place(page, 0));
    found.wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
    const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    found.light = await paper();
    await page.click("[aria-label='Dark or light']");
    found.dark = await paper();
    return found;
  },

  async folders(page, [run]) {
    const found = {};
    await page.click("text=Open a run or cohort");
    await page.click("dialog >> text=run");
    const legend = page.locator(".chart li").first();
    await legend.waitFor();
    found.first = await legend.innerText();
    fs.appendFileSync(`${run}/metrics.jsonl`, '{"kind":"train","training":"student","step":30,"loss":0.01}\n');
    await page.waitForFunction(() => document.querySelector(".chart li")?.textContent.includes("0.010"));
    found.later = await legend.innerText();
    await page.click(".run >> text=Back");
    await page.click("text=Open a run or cohort");
    await page.click("dialog >> text=cohort");
    await page.click(".cohort >> text=a-b");
    await page.waitForSelector("body[data-shown]");
    found.pair = await page.locator(".compare .viewer.filled").isVisible();
    return found;
  },
};

(async () => {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: quiet });
  try {
    const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    page.setDefaultTimeout(20000);
    const problems = [];
    page.on("pageerror", (error) => problems.push(error.message));
    page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
    page.on("request", (request) => {
      if (!/^(http:\/\/127\.0\.0\.1:|data:|blob:)/.test(request.url())) problems.push(request.url());
    });
    await page.goto(link);
    await page.waitForSelector("body[data-ready]");
    const found = await scenes[scene](page, files);
    console.log(JSON.stringify({ ...found, problems: problems.join("; ") }));
  } finally {
    await browser.close();
  }
})().catch((error) => {
  console.error(error.stack);
  process.exit(1);
});
