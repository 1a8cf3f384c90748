//! The module and its demo page in a real Chromium without a window: clicks, keys, results as natively, kernels.
//!
//! The site has to be built before (`tools/web/build.sh`), which `tools/test.sh` does.

use std::ffi::OsStr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use headless_chrome::protocol::cdp::Input::{
    DispatchMouseEvent, DispatchMouseEventTypeOption, MouseButton,
};
use headless_chrome::protocol::cdp::Page::CaptureScreenshotFormatOption;
use headless_chrome::{Browser, LaunchOptions, Tab};
use serde_json::{Value, json};

/// Longer than anything takes on a slow machine: a test that waits so long has failed.
const LONG: Duration = Duration::from_secs(600);
/// Seconds for the kernel table, most of which SwiftShader takes to compile.
const CHECK_SECONDS: u32 = 45;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

/// A Chromium, which ends with it, and where the site is.
struct Site {
    browser: Browser,
    address: String,
}

fn site() -> Site {
    let built = std::env::var_os("CARGO_TARGET_DIR").map_or(root().join("target"), PathBuf::from);
    let folder = built.join("web/site");
    assert!(
        folder.join("perceiver/perceiver_web_bg.wasm").exists(),
        "the site is not built: run tools/web/build.sh"
    );
    let address =
        perceiver_site::serve(&[&folder, &root().join("tests/fixtures")], 0).expect("a server");
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|path| path.is_file());
    let chromium = found.expect("no Chromium: install it, with `apt-get install chromium` say");
    let flags = [
        "--enable-unsafe-webgpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ];
    let options = LaunchOptions::default_builder()
        .path(Some(chromium))
        .sandbox(false)
        .window_size(Some((1200, 1000)))
        .idle_browser_timeout(LONG)
        .args(flags.iter().map(OsStr::new).collect())
        .build()
        .expect("options");
    let browser = Browser::new(options).expect("Chromium");
    Site { browser, address: format!("http://{address}") }
}

/// A tab with a page of the site, and its browser.
struct Page {
    tab: Arc<Tab>,
    _site: Site,
}

impl Deref for Page {
    type Target = Tab;

    fn deref(&self) -> &Tab {
        &self.tab
    }
}

fn tab(page: &str) -> Page {
    let site = site();
    let tab = site.browser.new_tab().expect("a tab");
    tab.set_default_timeout(LONG);
    tab.navigate_to(&format!("{}/{page}", site.address)).expect("the page");
    tab.wait_until_navigated().expect("the page");
    Page { tab, _site: site }
}

fn value(tab: &Tab, expression: &str) -> Value {
    let found = tab.evaluate(expression, false).unwrap_or_else(|e| panic!("{expression}: {e}"));
    found.value.unwrap_or(Value::Null)
}

/// Waits until an expression is true.
fn wait(tab: &Tab, expression: &str) {
    let begin = Instant::now();
    while value(tab, &format!("Boolean({expression})")) != Value::Bool(true) {
        let shown = || value(tab, "document.body.innerText").to_string();
        assert!(begin.elapsed() < LONG, "it never comes to {expression}; the page: {}", shown());
        sleep(Duration::from_millis(50));
    }
}

/// What an asynchronous function with the module as `perceiver` gives, as JSON.
fn script(tab: &Tab, body: &str) -> Value {
    let begin = format!(
        "window.answer = undefined;
         (async () => {{
           const perceiver = await import('/perceiver/index.js');
           {body}
         }})().then((result) => window.answer = {{ result }}, (error) => window.answer = {{ error: `${{error.name}}: ${{error.message}}` }});
         0"
    );
    value(tab, &begin);
    wait(tab, "window.answer");
    let answer: Value = match value(tab, "JSON.stringify(window.answer)") {
        Value::String(text) => serde_json::from_str(&text).expect("JSON"),
        other => panic!("no answer: {other}"),
    };
    assert!(answer.get("error").is_none(), "{}", answer["error"]);
    answer["result"].clone()
}

/// What scripts have in common.
const COMMON: &str = "
    const file = async (path) => new Uint8Array(await (await fetch(path)).arrayBuffer());
    // Tensors of a file in the safetensors format.
    const tensors = async (path) => {
      const bytes = await file(path);
      const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
      const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
      const kinds = { F32: Float32Array, I64: BigInt64Array };
      const entries = Object.entries(header).filter(([, { dtype }]) => kinds[dtype]);
      return Object.fromEntries(entries.map(([name, { dtype, shape, data_offsets: [from, to] }]) => {
        const data = new kinds[dtype](bytes.slice(8 + length + from, 8 + length + to).buffer);
        return [name, { shape, data }];
      }));
    };
    // Relative L2.
    const error = (found, expected) => {
      if (found?.length !== expected.length) return Infinity;
      let [off, all] = [0, 0];
      expected.forEach((e, i) => { off += (found[i] - e) ** 2; all += e ** 2; });
      return Math.sqrt(off / all);
    };
    const picture = (shift) => {
      const data = new Uint8ClampedArray(4 * 128 * 96);
      for (let j = 0; j < 96; j++) for (let i = 0; i < 128; i++) {
        const [x, y] = [i + 64 - shift, j + 64 - shift];
        const colours = [Math.floor(x * x / 7) + 3 * y, Math.floor(x * y / 5), Math.floor(y * y / 3) + x];
        data.set([...colours.map((c) => c & 255), 255], 4 * (128 * j + i));
      }
      return { width: 128, height: 96, data };
    };";

/// Every recorded case of Hugging Face's classes in float64, on the GPU and on the CPU.
#[test]
fn models_agree_with_recorded_runs() {
    let recorded = std::fs::read_dir(root().join("tests/fixtures/golden")).expect("cases");
    let cases: Vec<String> = recorded
        .map(|case| case.expect("a case").file_name().to_string_lossy().into_owned())
        .collect();
    let tab = tab("index.html?device=cpu");
    for (device, precision, allowed) in
        [("gpu", "f32", 1e-5), ("gpu", "f16", 5e-3), ("cpu", "f32", 1e-5)]
    {
        let found = script(
            &tab,
            &format!(
                "{COMMON}
                 const engine = await perceiver.open({{ device: '{device}' }});
                 const errors = {{}};
                 for (const name of {cases:?}) {{
                   const model = await engine.load(`golden/${{name}}`, {{ precision: '{precision}' }});
                   const recorded = Object.entries(await tensors(`golden/${{name}}/inputs.safetensors`));
                   const inputs = Object.fromEntries(recorded.filter(([input]) => /^([a-z_]+|points\\..*)$/.test(input)));
                   const outputs = await model.run(inputs);
                   const expected = await tensors(`golden/${{name}}/outputs.safetensors`);
                   for (const output of Object.keys(expected).filter((o) => /^logits(\\.(image|audio|label))?$/.test(o))) {{
                     errors[`${{name}} ${{output}}`] = error(outputs[output]?.data, expected[output].data);
                   }}
                   await model.free();
                 }}
                 engine.close();
                 return {{ name: engine.name, errors }};"
            ),
        );
        let errors = found["errors"].as_object().expect("errors");
        let largest =
            errors.values().map(|e| e.as_f64().unwrap_or(f64::INFINITY)).fold(0.0, f64::max);
        println!(
            "{device} ({}), {precision}: {} outputs, largest error {largest:.1e}",
            found["name"],
            errors.len()
        );
        assert!(errors.len() >= cases.len() && largest < allowed, "{device} {precision}: {found}");
    }
}

/// The pipelines and the decoder, in a worker and on the page's own thread, on the GPU and on the CPU.
#[test]
fn pipelines_agree_wherever_they_run() {
    let tab = tab("index.html?device=cpu");
    let mut first: Option<Value> = None;
    for (device, worker) in [("cpu", true), ("gpu", true), ("gpu", false)] {
        let found = script(
            &tab,
            &format!(
                "{COMMON}
                 // What the module's futures take of this thread at a time.
                 let [own, longest] = [0, 0];
                 const queue = window.queueMicrotask.bind(window);
                 const {{ port1, port2 }} = new MessageChannel();
                 port1.onmessage = () => [own, longest] = [0, Math.max(own, longest)];
                 window.queueMicrotask = (task) => queue(() => {{
                   const begin = performance.now();
                   if (own === 0) port2.postMessage(0);
                   task();
                   own += performance.now() - begin;
                 }});
                 let [gap, last] = [0, performance.now()];
                 const tick = setInterval(() => {{
                   const now = performance.now();
                   [gap, last] = [Math.max(gap, now - last), now];
                 }}, 4);
                 const engine = await perceiver.open({{ device: '{device}', worker: {worker} }});
                 const model = await engine.load('models/flow-tiny');
                 const begin = performance.now();
                 const flow = await model.flow(picture(0), picture(2));
                 const took = performance.now() - begin;
                 const text = await engine.load('models/text-tiny');
                 const data = new BigInt64Array(48).map((_, i) => 6n + BigInt(i) * 37n % 256n);
                 const input_ids = {{ shape: [1, 48], data }};
                 const filled = await text.fillMask('The comp[MASK]ler', {{ top: 3 }});
                 const run = (await text.run({{ input_ids }})).logits.data;
                 const decoded = await text.encode({{ input_ids }});
                 const rows = [];
                 for await (const chunk of decoded.decode('logits', {{ to: 48, chunk: 20 }})) rows.push(...chunk.rows.data);
                 const shapes = await engine.load('models/shapes-tiny');
                 const classes = await shapes.classify(picture(0), {{ top: 16 }});
                 clearInterval(tick);
                 window.queueMicrotask = queue;
                 engine.close();
                 const probabilities = classes.sort((a, b) => a.class - b.class).map((c) => c.probability);
                 const same = window.reference ??= {{ flow: flow.vectors, run, probabilities }};
                 return {{
                   gap, longest, took, letter: filled.text, streamed: error(rows, run.subarray(0, rows.length)),
                   errors: [error(flow.vectors, same.flow), error(run, same.run), error(probabilities, same.probabilities)],
                   colours: new Set(new Uint32Array(flow.picture.data.buffer)).size,
                 }};"
            ),
        );
        println!(
            "{device}, worker {worker}: {found}; in ms: `gap`, the longest wait of the page, `longest`, what of one was the module's, and what flow `took`"
        );
        let small = |e: &Value| e.as_f64().is_some_and(|e| e < 1e-5);
        assert!(found["errors"].as_array().expect("errors").iter().all(small), "{found}");
        assert!(small(&found["streamed"]), "{found}");
        assert!(found["colours"].as_u64() > Some(10), "{found}");
        let first = first.get_or_insert_with(|| found.clone());
        assert_eq!(found["letter"], first["letter"]);
    }
}

#[test]
fn calls_can_be_ended_and_errors_say_why() {
    let tab = tab("index.html?device=cpu");
    let found = script(
        &tab,
        "const engine = await perceiver.open({ device: 'gpu' });
         const named = (promise) => promise.then(() => 'nothing', (e) => `${e.name}: ${e.message}`);
         const flow = await engine.load('models/flow-tiny');
         const ended = new AbortController();
         const blank = { width: 128, height: 96, data: new Uint8ClampedArray(4 * 128 * 96) };
         const run = flow.flow(blank, blank, { signal: ended.signal, onProgress: () => ended.abort() });
         const [config, weights] = await Promise.all(['config.json', 'model.safetensors'].map((file) => fetch(`models/flow-tiny/${file}`)));
         const held = await engine.load({ config: await config.text(), weights: new Uint8Array(await weights.arrayBuffer()) });
         const kept = await (await caches.open('perceiver-models')).match(new URL('models/flow-tiny/model.safetensors', document.baseURI).href);
         return {
           ended: await named(run),
           again: await named(flow.flow(blank, blank)),
           size: held.size,
           text: await named(flow.fillMask('a [MASK]')),
           picture: await named(flow.flow(blank, { width: 5, height: 5, data: new Uint8Array(3) })),
           tensor: await named(flow.run({ patches: { shape: [1], data: new Float32Array(2) } })),
           missing: await named(engine.load('models/none')),
           weights: await named(engine.load({ config: '{}', weights: new Uint8Array(9) })),
           device: await named(perceiver.open({ device: 'tpu' })),
           kept: Boolean(kept),
         };",
    );
    let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
    assert!(text("ended").starts_with("AbortError"), "{found}");
    assert_eq!(text("again"), "nothing", "after a run that was ended");
    for (name, part) in [
        ("text", "filling masks"),
        ("picture", "5×5"),
        ("tensor", "2"),
        ("missing", "404"),
        ("weights", "header"),
        ("device", "auto"),
    ] {
        let text = text(name);
        assert!(text != "nothing" && text.contains(part), "{name}: {text}");
    }
    assert_eq!(found["size"], json!([96, 128]), "a model from bytes in memory");
    assert_eq!(found["kept"], true, "the model is not kept");
}

#[test]
fn kernels_are_right_in_the_browser() {
    let tab = tab("index.html?device=cpu");
    let found = script(
        &tab,
        &format!(
            "const engine = await perceiver.open({{ device: 'gpu' }});
             const [rows, kernels] = [[], new Set()];
             for await (const row of engine.check({{ seconds: {CHECK_SECONDS} }})) {{
               kernels.add(row.kernel);
               rows.push(row);
             }}
             return {{ of: engine.kernelRows, trials: rows.length, kernels: [...kernels], failed: rows.filter((row) => !row.passed) }};"
        ),
    );
    println!("{} trials of kernels {} in the browser", found["trials"], found["kernels"]);
    assert_eq!(found["failed"], json!([]), "kernels");
    assert!(found["trials"].as_u64() > Some(0), "nothing was tried");
}

#[test]
fn the_page_does_what_is_clicked() {
    let tab = tab("index.html?device=gpu");
    wait(&tab, "document.querySelector('#engine').textContent.startsWith('Running on')");
    let click = |css: &str| {
        tab.find_element(css)
            .and_then(|e| e.click().map(|_| ()))
            .unwrap_or_else(|e| panic!("{css}: {e}"));
    };
    let ran = |section: &str| {
        format!("document.querySelector('#{section} .status').textContent.includes('run ')")
    };

    // Letters are filled in as one types.
    wait(&tab, "document.querySelectorAll('#text mark').length === 3");
    click("#text textarea");
    value(&tab, "document.querySelector('#text textarea').select()");
    tab.type_str("A _est of the page").expect("keys");
    wait(&tab, "document.querySelectorAll('#text mark').length === 1");
    let filled = value(&tab, "document.querySelector('#text output').textContent");
    assert!(filled.as_str().is_some_and(|t| t.starts_with("A ") && t.ends_with("est of the page")));

    // A drawing gets its classes.
    let board = "document.querySelector('#drawing canvas').getBoundingClientRect()";
    value(&tab, "document.querySelector('#drawing').scrollIntoView()");
    let corner = ["left", "top"].map(|side| value(&tab, &format!("{board}.{side}")).as_f64());
    let [left, top] = corner.map(|x| x.expect("a place"));
    let mouse = |kind, angle: f64| {
        tab.call_method(DispatchMouseEvent {
            Type: kind,
            x: left + 100.0 + 60.0 * angle.cos(),
            y: top + 100.0 + 60.0 * angle.sin(),
            modifiers: None,
            timestamp: None,
            button: Some(MouseButton::Left),
            buttons: Some(1),
            click_count: Some(1),
            force: None,
            tangential_pressure: None,
            tilt_x: None,
            tilt_y: None,
            twist: None,
            delta_x: None,
            delta_y: None,
            pointer_Type: None,
        })
        .expect("the mouse");
    };
    mouse(DispatchMouseEventTypeOption::MousePressed, 0.0);
    for step in 1..=32 {
        mouse(DispatchMouseEventTypeOption::MouseMoved, f64::from(step) * 0.2);
    }
    mouse(DispatchMouseEventTypeOption::MouseReleased, 6.4);
    wait(&tab, &ran("drawing"));
    wait(&tab, "document.querySelectorAll('#drawing li').length === 5");
    let best = value(&tab, "document.querySelector('#drawing li').textContent");
    println!("the drawn circle is a {best}");

    // Flow of frames that move, until it is stopped.
    click("[data-source=moving]");
    wait(
        &tab,
        "/run .*median of ([3-9]|\\d\\d)/.test(document.querySelector('#flow .status').textContent)",
    );
    click("#stop");
    let colours = "new Set(new Uint32Array(document.querySelector('#field').getContext('2d').getImageData(0, 0, 128, 96).data.buffer)).size";
    assert!(value(&tab, colours).as_u64() > Some(50), "the flow has no colours");

    // The kernel check.
    value(&tab, "document.querySelector('#seconds').value = 4");
    click("#start");
    wait(
        &tab,
        "document.querySelector('#start').textContent === 'Check' && document.querySelectorAll('#check tbody tr').length > 0",
    );
    let failed = value(&tab, "document.querySelectorAll('#check .failed').length");
    assert_eq!(failed, 0, "kernels");

    println!(
        "{}",
        value(
            &tab,
            "[...document.querySelectorAll('.status')].map((s) => s.textContent).join('; ')"
        )
    );
    value(&tab, "scrollTo(0, 0)");
    let shot = tab.capture_screenshot(CaptureScreenshotFormatOption::Png, None, None, true);
    let built = std::env::var_os("CARGO_TARGET_DIR").map_or(root().join("target"), PathBuf::from);
    std::fs::write(built.join("web/page.png"), shot.expect("a screenshot")).expect("a file");
    assert_eq!(
        value(&tab, "document.querySelectorAll('.status.failed').length"),
        0,
        "errors on the page"
    );
}
