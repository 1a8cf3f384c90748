//! Shader sources and the small preprocessor that makes variants of them.
//!
//! WGSL has no preprocessor. Directives are comments:
//!
//! * `// #import PATH` inserts `shaders/PATH.wgsl`;
//! * `const NAME: u32 = VALUE;` at the beginning of a line gets the value that a variant sets; otherwise
//!   VALUE may be sums of products and quotients of literals and constants above;
//! * `// #if NAME == VALUE`, `// #else`, `// #endif` keep the lines between them or drop them;
//! * `// #unroll` on the line above `for (var i = 0u; i < BOUND; i++) {` writes the body once per
//!   index, where BOUND is made of constants. naga never asks a driver to unroll, and register arrays
//!   need constant indices to stay in registers;
//! * `alias NAME4 = vec4<f32>;` becomes two words of f16 where a variant stores array NAME so, and
//!   the functions `from_NAME` and `to_NAME`, one line each, then unpack and pack. Shaders that
//!   enable f16 anyway get native f16, and `stage_NAME` then converts nothing.
//!
//! With its imports inserted, every file is valid WGSL as it stands, at the constants' own values.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::kernels::{self, DeviceTraits, Variant, shader_text};

/// Shader texts by path under `shaders/`, without extension.
fn sources() -> impl Iterator<Item = (&'static str, &'static str)> {
    let common = [
        shader_text!("common/coop"),
        shader_text!("common/coop_attention"),
        shader_text!("common/copy"),
        shader_text!("common/dot"),
        shader_text!("common/elementwise"),
        shader_text!("common/texels"),
        shader_text!("common/f16"),
        shader_text!("common/activation"),
        shader_text!("common/lanes"),
        shader_text!("common/tiles"),
    ];
    common.into_iter().chain(kernels::shaders())
}

/// Changes whenever a shader or a variant does.
#[must_use]
pub fn fingerprint() -> u64 {
    let mut text = String::new();
    for (name, source) in sources() {
        text.push_str(name);
        text.push_str(source);
    }
    for variant in kernels::variants() {
        text.push_str(&format!("{variant:?}"));
    }
    super::fingerprint(text.as_bytes())
}

/// The WGSL text of a variant for a device.
///
/// # Errors
/// [`Error::Shader`] when a directive does not make sense: a defect of the shader, not of its user.
pub fn source(variant: &Variant, device: &DeviceTraits) -> Result<String> {
    let label = format!("{}/{}", variant.kernel, variant.title());
    let constants: Vec<(&str, u32)> = variant.all_constants().collect();
    let text = imported(&label, text(&label, variant.source)?)?;
    let text = preprocess(&label, &narrow(&label, &text, variant.f16)?, &constants)?;
    // Cooperative operations need uniforms that are seen to be uniform.
    if !device.rewritten || variant.cooperative.is_some() {
        return Ok(text);
    }
    let mut text = opaque(&text, variant.entry)
        .ok_or_else(|| defect(&label, "has no Params or no entry point".to_owned()))?;
    if variant.software {
        text = unknown_ends(&text);
        if device.int64 {
            text = wide(text);
        }
    }
    Ok(text)
}

/// The same with uniforms that compilers take to depend on the workgroup. llvmpipe of Mesa 22 puts the values of
/// uniforms that decide conditions into the text, and compiles it again for every dispatch.
fn opaque(text: &str, entry: &str) -> Option<String> {
    let (head, rest) = text.split_once(&format!("\nfn {entry}("))?;
    let (arguments, body) = rest.split_once(") {\n")?;
    // Of the workgroup or of the invocation: its z is always zero.
    let id = arguments.split_once(": vec3<u32>")?.0.rsplit(' ').next()?;
    let (before, after) = head.split_once("var<uniform> params: Params;")?;
    Some(format!(
        "{before}var<uniform> given: Params;\nvar<private> params: Params;\nvar<private> zero: u32;{after}\n\
         fn {entry}({arguments}) {{\n    params = given;\n    zero = {id}.z;\n    if (zero != 0u) {{\n        \
         params = Params();\n    }}\n{body}"
    ))
}

/// The same with loops whose ends compilers do not know, so that they do not write them out: llvmpipe of Mesa 25 needs
/// seconds for the loads that are in them.
fn unknown_ends(text: &str) -> String {
    let unknown = |line: &str| {
        let (start, rest) = line.split_once("; ").filter(|_| line.contains("for (var "))?;
        let (condition, step) = rest.split_once("; ").filter(|(c, _)| c.contains(" <"))?;
        Some(format!("{start}; {condition} + zero; {step}\n"))
    };
    text.lines().map(|line| unknown(line).unwrap_or_else(|| format!("{line}\n"))).collect()
}

/// The same with arrays of vectors of two 64-bit words: software adapters load and store lane by lane and word by
/// word, with a check of the index for each.
fn wide(mut text: String) -> String {
    let names: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("alias ")?.strip_suffix("4 = vec4<f32>;"))
        .map(str::to_owned)
        .collect();
    for name in &names {
        for (plain, words) in [
            (format!("alias {name}4 = vec4<f32>;"), format!("alias {name}4 = vec2<u64>;")),
            (
                format!("(v: {name}4) -> vec4<f32> {{ return v; }}"),
                format!("(v: {name}4) -> vec4<f32> {{ return from_u64(v); }}"),
            ),
            (
                format!("(v: vec4<f32>) -> {name}4 {{ return v; }}"),
                format!("(v: vec4<f32>) -> {name}4 {{ return to_u64(v); }}"),
            ),
            (
                format!("return {name}[at / 4u][at % 4u];"),
                format!("return half_u64({name}[at / 4u][at % 4u / 2u], at % 2u);"),
            ),
        ] {
            text = text.replace(&plain, &words);
        }
    }
    if !names.is_empty() {
        text.push_str(U64);
    }
    text
}

/// Vectors of numbers as 64-bit words.
const U64: &str = "
fn from_u64(v: vec2<u64>) -> vec4<f32> {
    let high = v >> vec2<u32>(32u);
    return bitcast<vec4<f32>>(vec4<u32>(u32(v.x), u32(high.x), u32(v.y), u32(high.y)));
}

fn to_u64(v: vec4<f32>) -> vec2<u64> {
    let w = bitcast<vec4<u32>>(v);
    return vec2<u64>(u64(w.x), u64(w.z)) | (vec2<u64>(u64(w.y), u64(w.w)) << vec2<u32>(32u));
}

fn half_u64(v: u64, odd: u32) -> f32 {
    return bitcast<f32>(select(u32(v), u32(v >> 32u), odd == 1u));
}
";

/// The WGSL text of a file with its imports, at its constants' own values.
///
/// # Errors
/// [`Error::Shader`] when there is no such file, or a directive does not make sense.
pub fn standing(path: &str) -> Result<String> {
    preprocess(path, &imported(path, text(path, path)?)?, &[])
}

/// Stores the arrays of these names as f16.
fn narrow(label: &str, text: &str, names: &[&str]) -> Result<String> {
    let native = text.contains("\nenable f16;");
    let [stored, unpacked, packed] = if native {
        ["vec4<f16>", "vec4<f32>(v)", "to_f16(v)"]
    } else {
        ["vec2<u32>", "from_f16(v)", "to_f16(v)"]
    };
    let mut text = text.to_owned();
    for name in names {
        let alias = format!("alias {name}4 = vec4<f32>;");
        if !text.contains(&alias) {
            return Err(defect(label, format!("has no `{alias}`")));
        }
        text = text.replace(&alias, &format!("alias {name}4 = {stored};"));
        let from = format!("fn from_{name}(v: {name}4) -> vec4<f32> {{ return ");
        text = text.replace(&format!("{from}v; }}"), &format!("{from}{unpacked}; }}"));
        let to = format!("fn to_{name}(v: vec4<f32>) -> {name}4 {{ return ");
        text = text.replace(&format!("{to}v; }}"), &format!("{to}{packed}; }}"));
        let stage = format!("fn stage_{name}(v: {name}4) -> vec4<f16> {{ return ");
        text = text.replace(&format!("{stage}to_f16(v); }}"), &format!("{stage}v; }}"));
    }
    if !names.is_empty() && !native {
        text.push_str(self::text(label, "common/f16")?);
    }
    Ok(text)
}

fn text(label: &str, name: &str) -> Result<&'static str> {
    sources()
        .find(|(n, _)| *n == name)
        .map(|(_, text)| text)
        .ok_or_else(|| defect(label, format!("there is no shader `{name}`")))
}

fn defect(label: &str, message: String) -> Error {
    Error::Shader { label: label.to_owned(), message }
}

/// Constants, conditional blocks, unrolled loops.
///
/// # Errors
/// [`Error::Shader`] when a directive does not make sense.
pub fn preprocess(label: &str, text: &str, constants: &[(&str, u32)]) -> Result<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut values: BTreeMap<String, u32> = BTreeMap::new();
    // Whether the lines of each open block are wanted.
    let mut wanted: Vec<bool> = Vec::new();
    for line in text.lines() {
        let cannot = |what: &str| defect(label, format!("cannot {what} `{line}`"));
        let directive = line.trim();
        if let Some(condition) = directive.strip_prefix("// #if ") {
            wanted.push(holds(condition, &values).ok_or_else(|| cannot("evaluate"))?);
        } else if directive == "// #else" {
            let last = wanted.last_mut().ok_or_else(|| cannot("place"))?;
            *last = !*last;
        } else if directive == "// #endif" {
            wanted.pop().ok_or_else(|| cannot("place"))?;
        } else if wanted.iter().all(|&w| w) {
            let Some((name, default)) = constant(line) else {
                lines.push(line.to_owned());
                continue;
            };
            let set = constants.iter().find(|(n, _)| *n == name).map(|c| c.1);
            let value = set.or_else(|| evaluate(default, &values));
            let value = value.ok_or_else(|| cannot("evaluate"))?;
            lines.push(format!("const {name}: u32 = {value}u;"));
            values.insert(name.to_owned(), value);
        }
    }
    if !wanted.is_empty() {
        return Err(defect(label, "has an #if without #endif".to_owned()));
    }
    for (name, _) in constants {
        if !values.contains_key(*name) {
            return Err(defect(label, format!("has no constant `{name}`")));
        }
    }
    unroll(label, &lines, &values).map(|lines| lines.join("\n") + "\n")
}

/// Whether `NAME == VALUE` is true.
fn holds(condition: &str, values: &BTreeMap<String, u32>) -> Option<bool> {
    let (left, right) = condition.split_once(" == ")?;
    Some(evaluate(left, values)? == evaluate(right, values)?)
}

/// A text with its imports, and theirs.
fn imported(label: &str, text: &str) -> Result<String> {
    let mut whole = String::with_capacity(text.len());
    for line in text.lines() {
        match line.trim().strip_prefix("// #import ") {
            Some(name) => whole.push_str(&imported(label, self::text(label, name.trim())?)?),
            None => {
                whole.push_str(line);
                whole.push('\n');
            }
        }
    }
    Ok(whole)
}

/// Name and value of `const NAME: u32 = VALUE;`.
fn constant(line: &str) -> Option<(&str, &str)> {
    let rest = line.strip_prefix("const ")?;
    let (name, rest) = rest.split_once(": u32 = ")?;
    Some((name, rest.strip_suffix(';')?))
}

/// Value of sums of products and quotients of literals and constants, from left to right.
fn evaluate(expression: &str, values: &BTreeMap<String, u32>) -> Option<u32> {
    let operand = |text: &str| -> Option<u32> {
        let text = text.trim();
        let literal = text.strip_suffix('u').unwrap_or(text).parse().ok();
        literal.or_else(|| values.get(text).copied())
    };
    expression.split('+').try_fold(0u32, |sum, term| {
        let mut value = 1u32;
        let mut divides = false;
        for factor in term.split_inclusive(['*', '/']) {
            let n = operand(factor.trim_end_matches(['*', '/']))?;
            value = if divides { value.checked_div(n)? } else { value.checked_mul(n)? };
            divides = factor.ends_with('/');
        }
        sum.checked_add(value)
    })
}

/// Writes marked loops out, inner ones too.
fn unroll(label: &str, lines: &[String], values: &BTreeMap<String, u32>) -> Result<Vec<String>> {
    let mut out = Vec::with_capacity(lines.len());
    let mut at = 0;
    while at < lines.len() {
        if lines[at].trim() != "// #unroll" {
            out.push(lines[at].clone());
            at += 1;
            continue;
        }
        let wrong = |what: &str| defect(label, format!("{what} after #unroll in line {}", at + 1));
        let head = lines.get(at + 1).ok_or_else(|| wrong("nothing"))?;
        let (index, bound) = loop_head(head).ok_or_else(|| wrong("no plain loop"))?;
        let bound = evaluate(bound, values).ok_or_else(|| wrong("no constant bound"))?;
        let end = closing(lines, at + 1).ok_or_else(|| wrong("no closing brace"))?;
        let body = unroll(label, &lines[at + 2..end], values)?;
        for i in 0..bound {
            out.push("{".to_owned());
            out.extend(body.iter().map(|l| substitute(l, index, &format!("{i}u"))));
            out.push("}".to_owned());
        }
        at = end + 1;
    }
    Ok(out)
}

/// Index and bound of `for (var i = 0u; i < BOUND; i++) {`.
fn loop_head(line: &str) -> Option<(&str, &str)> {
    let rest = line.trim().strip_prefix("for (var ")?;
    let (index, rest) = rest.split_once(" = 0u; ")?;
    let rest = rest.strip_prefix(index)?.strip_prefix(" < ")?;
    let (bound, rest) = rest.split_once("; ")?;
    (rest == format!("{index}++) {{")).then_some((index, bound))
}

/// The line whose brace closes the one that ends line `open`.
fn closing(lines: &[String], open: usize) -> Option<usize> {
    let mut depth = 0i32;
    for (i, line) in lines.iter().enumerate().skip(open) {
        let code = line.split("//").next().unwrap_or("");
        for c in code.chars() {
            depth += match c {
                '{' => 1,
                '}' => -1,
                _ => 0,
            };
        }
        if depth == 0 {
            return Some(i);
        }
    }
    None
}

/// Replaces an identifier, not parts of longer ones and not components after a dot.
fn substitute(line: &str, name: &str, value: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut out = String::with_capacity(line.len());
    let mut copied = 0;
    for (at, _) in line.match_indices(name) {
        let end = at + name.len();
        let joined = line[..at].ends_with(|c: char| is_part(c) || c == '.');
        if joined || line[end..].starts_with(is_part) {
            continue;
        }
        out.push_str(&line[copied..at]);
        out.push_str(value);
        copied = end;
    }
    out.push_str(&line[copied..]);
    out
}

#[cfg(test)]
#[path = "../../tests/unit/gpu_shader.rs"]
mod tests;
