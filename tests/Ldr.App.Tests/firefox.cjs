// Registers two scans in Firefox, driven by WebDriver BiDi:
// xvfb-run -a node --experimental-websocket firefox.cjs LINK FIXED MOVING [SCREENSHOT]
// Prints what it found as one JSON object. FIREFOX is the browser. Headless it has no WebGL; on a virtual screen it has.
const fs = require("fs");
const os = require("os");
const path = require("path");
const { spawn } = require("child_process");

const [link, fixed, moving, picture] = process.argv.slice(2);
const profile = fs.mkdtempSync(path.join(os.tmpdir(), "ldr-firefox-"));

// No call to anybody's servers; WebGL without a graphics card.
const preferences = {
  "app.normandy.enabled": false,
  "app.update.enabled": false,
  "browser.safebrowsing.downloads.remote.enabled": false,
  "browser.safebrowsing.malware.enabled": false,
  "browser.safebrowsing.phishing.enabled": false,
  "browser.shell.checkDefaultBrowser": false,
  "browser.startup.page": 0,
  "datareporting.policy.dataSubmissionEnabled": false,
  "extensions.update.enabled": false,
  "network.captive-portal-service.enabled": false,
  "network.connectivity-service.enabled": false,
  "services.settings.server": "data:,",
  "toolkit.telemetry.server": "data:,",
  "webgl.force-enabled": true,
};
fs.writeFileSync(
  path.join(profile, "user.js"),
  Object.entries(preferences).map(([name, value]) => `user_pref("${name}", ${JSON.stringify(value)});\n`).join(""),
);

const firefox = spawn(process.env.FIREFOX, ["--no-remote", "--profile", profile, "--remote-debugging-port", "0", "--window-size", "1280,900", "about:blank"], {
  env: { ...process.env, LIBGL_ALWAYS_SOFTWARE: "1", HOME: profile },
  stdio: ["ignore", "ignore", "pipe"],
});

/** The address that Firefox tells when it can be driven. */
function address() {
  return new Promise((resolve, reject) => {
    let said = "";
    firefox.stderr.on("data", (data) => {
      said += data;
      const found = /WebDriver BiDi listening on (ws:\S+)/.exec(said);
      if (found) resolve(found[1]);
    });
    firefox.on("exit", () => reject(new Error(`Firefox ended: ${said}`)));
  });
}

/** A connection: call(method, parameters) gives the result, heard gets every event. */
async function connect(to, heard) {
  const socket = new WebSocket(`${to}/session`);
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error(`${to} does not answer`));
  });
  const open = new Map();
  let last = 0;
  socket.onmessage = (message) => {
    const said = JSON.parse(message.data);
    if (said.type === "event") return heard(said);
    const { resolve, reject } = open.get(said.id);
    if (said.type === "success") resolve(said.result);
    else reject(new Error(`${said.error}: ${said.message}`));
  };
  return (method, params = {}) =>
    new Promise((resolve, reject) => {
      open.set(++last, { resolve, reject });
      socket.send(JSON.stringify({ id: last, method, params }));
    });
}

(async () => {
  const problems = [];
  const call = await connect(await address(), ({ method, params }) => {
    if (method === "log.entryAdded" && params.level === "error") problems.push(params.text);
    if (method === "network.beforeRequestSent" && !/^(http:\/\/127\.0\.0\.1:|data:|blob:|about:)/.test(params.request.url)) problems.push(params.request.url);
  });
  await call("session.new", { capabilities: {} });
  const { contexts } = await call("browsingContext.getTree");
  const context = contexts[0].context;
  await call("session.subscribe", { events: ["log.entryAdded", "network.beforeRequestSent"] });
  const evaluate = async (expression) => {
    const { result, exceptionDetails } = await call("script.evaluate", { expression, target: { context }, awaitPromise: true, resultOwnership: "none" });
    if (exceptionDetails) throw new Error(exceptionDetails.text);
    return result.value;
  };
  const until = async (condition) => {
    for (let i = 0; i < 200; i++) {
      if (await evaluate(`!!(${condition})`)) return;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`never: ${condition}; ${problems.join("; ")}`);
  };
  const give = async (selector, file) => {
    const { nodes } = await call("browsingContext.locateNodes", { context, locator: { type: "css", value: selector } });
    await call("input.setFiles", { context, element: { sharedId: nodes[0].sharedId }, files: [file] });
  };
  await call("browsingContext.navigate", { context, url: link, wait: "complete" });
  await until("document.body.dataset.ready");
  if (!(await evaluate("!!document.createElement('canvas').getContext('webgl2')"))) {
    console.log(JSON.stringify({ webgl: false }));
    return;
  }
  await give("#file-fixed", fixed);
  await give("#file-moving", moving);
  await until("document.querySelectorAll('.viewer.filled').length === 2");
  await evaluate("document.querySelector('button.main').click()");
  await until("document.body.dataset.shown");
  await until("document.querySelector('.compare .viewer.filled')");
  await new Promise((resolve) => setTimeout(resolve, 500));
  const shot = async (selector) => {
    const { nodes } = await call("browsingContext.locateNodes", { context, locator: { type: "css", value: selector } });
    return (await call("browsingContext.captureScreenshot", { context, clip: { type: "element", element: { sharedId: nodes[0].sharedId } } })).data;
  };
  const before = await shot(".compare .stage");
  await evaluate("document.querySelector('[data-mode=difference]').click()");
  await new Promise((resolve) => setTimeout(resolve, 700));
  const found = {
    webgl: true,
    verdict: await evaluate("document.querySelector('.verdict').innerText"),
    changes: (await shot(".compare .stage")) !== before,
    problems: problems.join("; "),
  };
  if (picture) fs.writeFileSync(picture, Buffer.from((await call("browsingContext.captureScreenshot", { context })).data, "base64"));
  console.log(JSON.stringify(found));
})()
  .catch((error) => {
    console.error(error.stack);
    process.exitCode = 1;
  })
  .finally(() => {
    firefox.removeAllListeners("exit");
    firefox.on("exit", () => {
      fs.rmSync(profile, { recursive: true, force: true });
      process.exit();
    });
    firefox.kill();
  });
