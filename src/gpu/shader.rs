//! Shader sources and the small preprocessor that makes variants of them.
//!
//! WGSL has no preprocessor. Every file under `shaders/` is valid WGSL as it stands, so editors and
//! `naga` accept it; directives are comments:
//!
//! * `// #import common/NAME` inserts `shaders/common/NAME.wgsl`;
//! * `// #unroll` on the line above `for (var i = 0u; i < BOUND; i++) {` writes the body once per
//!   index, where BOUND is a product or sum of constants. naga never asks a driver to unroll, and
//!   register arrays need constant indices to stay in registers;
//! * `const NAME: u32 = 1u;` at the beginning of a line gets the value that a variant sets;
//! * `// #when NAME VALUE: TEXT` puts TEXT in place of the line before where a variant sets constant
//!   NAME to VALUE;
//! * `alias NAME4 = vec4<f32>;` becomes two words of halves where a variant stores array NAME so, and
//!   the functions `from_NAME` and `to_NAME`, one line each, then unpack and pack. Shaders that
//!   enable f16 anyway get native halves.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::kernels::Variant;

/// Shader texts by path under `shaders/`, without extension.
const SOURCES: &[(&str, &str)] = &[
    (
        "common/gelu",
        include_str!("../../shaders/common/gelu.wgsl"),
    ),
    (
        "common/gemm",
        include_str!("../../shaders/common/gemm.wgsl"),
    ),
    (
        "matrix/gemm",
        include_str!("../../shaders/matrix/gemm.wgsl"),
    ),
    (
        "common/attention",
        include_str!("../../shaders/common/attention.wgsl"),
    ),
    (
        "matrix/attention",
        include_str!("../../shaders/matrix/attention.wgsl"),
    ),
    (
        "common/factored_attention",
        include_str!("../../shaders/common/factored_attention.wgsl"),
    ),
    (
        "common/halves",
        include_str!("../../shaders/common/halves.wgsl"),
    ),
    ("gemm", include_str!("../../shaders/gemm.wgsl")),
    ("gemm_merge", include_str!("../../shaders/gemm_merge.wgsl")),
    ("layer_norm", include_str!("../../shaders/layer_norm.wgsl")),
    (
        "subgroup/layer_norm",
        include_str!("../../shaders/subgroup/layer_norm.wgsl"),
    ),
    (
        "blocked/attention",
        include_str!("../../shaders/blocked/attention.wgsl"),
    ),
    (
        "blocked/factored_attention",
        include_str!("../../shaders/blocked/factored_attention.wgsl"),
    ),
    ("attention", include_str!("../../shaders/attention.wgsl")),
    (
        "attention_merge",
        include_str!("../../shaders/attention_merge.wgsl"),
    ),
    ("embed", include_str!("../../shaders/embed.wgsl")),
    ("assemble", include_str!("../../shaders/assemble.wgsl")),
    (
        "convolution",
        include_str!("../../shaders/convolution.wgsl"),
    ),
    ("max_pool", include_str!("../../shaders/max_pool.wgsl")),
    (
        "factored_attention",
        include_str!("../../shaders/factored_attention.wgsl"),
    ),
    ("row_scale", include_str!("../../shaders/row_scale.wgsl")),
    ("transpose", include_str!("../../shaders/transpose.wgsl")),
    ("join", include_str!("../../shaders/join.wgsl")),
];

/// Names of all shaders that are kernels.
#[must_use]
pub fn names() -> Vec<&'static str> {
    let all = SOURCES.iter().map(|(name, _)| *name);
    all.filter(|n| !n.contains('/')).collect()
}

/// Changes whenever a shader or a variant does.
#[must_use]
pub fn fingerprint() -> u64 {
    let mut text = String::new();
    for (name, source) in SOURCES {
        text.push_str(name);
        text.push_str(source);
    }
    for variant in crate::kernels::variants() {
        text.push_str(&format!("{variant:?}"));
    }
    super::fingerprint(text.as_bytes())
}

/// The WGSL text of a variant.
///
/// # Errors
/// [`Error::Shader`] when a directive does not make sense: a defect of the shader, not of its user.
pub fn source(variant: &Variant) -> Result<String> {
    let label = format!("{}/{}", variant.kernel, variant.title());
    let constants: Vec<(&str, u32)> = variant.all_constants().collect();
    let text = halve(&label, text(&label, variant.source)?, variant.halves)?;
    preprocess(&label, &text, &constants)
}

/// Makes arrays of `names` arrays of halves.
fn halve(label: &str, text: &str, names: &[&str]) -> Result<String> {
    let native = text.contains("\nenable f16;");
    let [stored, unpacked, packed] = if native {
        ["vec4<f16>", "vec4<f32>(v)", "to_f16(v)"]
    } else {
        ["vec2<u32>", "from_halves(v)", "to_halves(v)"]
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
    }
    if !names.is_empty() && !native {
        text.push_str("\n// #import common/halves\n");
    }
    Ok(text)
}

fn text(label: &str, name: &str) -> Result<&'static str> {
    SOURCES
        .iter()
        .find(|(n, _)| *n == name)
        .map(|(_, text)| *text)
        .ok_or_else(|| defect(label, format!("there is no shader `{name}`")))
}

fn defect(label: &str, message: String) -> Error {
    Error::Shader {
        label: label.to_owned(),
        message,
    }
}

/// Imports, constants, unrolled loops.
fn preprocess(label: &str, text: &str, constants: &[(&str, u32)]) -> Result<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in imported(label, text)?.lines() {
        match line.trim().strip_prefix("// #when ") {
            Some(rest) => {
                let replacement = alternative(rest, constants)
                    .ok_or_else(|| defect(label, format!("cannot read `{line}`")))?;
                if let (Some(text), Some(before)) = (replacement, lines.last_mut()) {
                    *before = text.to_owned();
                }
            }
            None => lines.push(line.to_owned()),
        }
    }
    let mut values: BTreeMap<String, u32> = BTreeMap::new();
    for line in &mut lines {
        let Some((name, value)) = constant(line) else {
            continue;
        };
        let name = name.to_owned();
        let set = constants.iter().find(|(n, _)| *n == name).map(|c| c.1);
        let value = match set {
            Some(value) => {
                *line = format!("const {name}: u32 = {value}u;");
                value
            }
            None => evaluate(value, &values)
                .ok_or_else(|| defect(label, format!("cannot evaluate `{line}`")))?,
        };
        values.insert(name, value);
    }
    for (name, _) in constants {
        if !values.contains_key(*name) {
            return Err(defect(label, format!("has no constant `{name}`")));
        }
    }
    unroll(label, &lines, &values).map(|lines| lines.join("\n") + "\n")
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

/// What `NAME VALUE: TEXT` puts in place of the line before, if these constants say so.
fn alternative<'a>(rest: &'a str, constants: &[(&str, u32)]) -> Option<Option<&'a str>> {
    let (condition, text) = rest.split_once(": ")?;
    let (name, value) = condition.split_once(' ')?;
    let value: u32 = value.parse().ok()?;
    Some(constants.contains(&(name, value)).then_some(text))
}

/// Name and value of `const NAME: u32 = VALUE;`.
fn constant(line: &str) -> Option<(&str, &str)> {
    let rest = line.strip_prefix("const ")?;
    let (name, rest) = rest.split_once(": u32 = ")?;
    Some((name, rest.strip_suffix(';')?))
}

/// Value of sums of products of literals and constants.
fn evaluate(expression: &str, values: &BTreeMap<String, u32>) -> Option<u32> {
    expression.split('+').try_fold(0u32, |sum, term| {
        let product = term.split('*').try_fold(1u32, |product, factor| {
            let factor = factor.trim();
            let literal = factor.strip_suffix('u').unwrap_or(factor).parse().ok();
            product.checked_mul(literal.or_else(|| values.get(factor).copied())?)
        })?;
        sum.checked_add(product)
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
mod tests {
    use super::*;

    #[test]
    fn loops_are_written_out_with_inner_ones() {
        let text = "const A: u32 = 1u;\nconst B: u32 = 2u * A;\n// #unroll\nfor (var i = 0u; i < A; i++) {\n  // #unroll\n  for (var j = 0u; j < B; j++) {\n    x[i * B + j] += hit.i;\n  }\n}";
        let got = preprocess("t", text, &[("A", 2)]).unwrap();
        assert!(got.starts_with("const A: u32 = 2u;\nconst B: u32 = 2u * A;\n"));
        for (i, j) in [(0, 0), (0, 3), (1, 0), (1, 3)] {
            assert!(
                got.contains(&format!("x[{i}u * B + {j}u] += hit.i;")),
                "{got}"
            );
        }
        assert!(!got.contains("for"));
    }

    #[test]
    fn lines_have_alternatives_and_arrays_are_halved() {
        let text = "alias x4 = vec4<f32>;\nfn from_x(v: x4) -> vec4<f32> { return v; }\nconst N: u32 = 1u;\nlet a = 1;\n// #when N 2: let b = 2;";
        let got = preprocess("t", text, &[("N", 2)]).unwrap();
        assert!(got.ends_with("const N: u32 = 2u;\nlet b = 2;\n"), "{got}");
        let got = preprocess("t", text, &[]).unwrap();
        assert!(got.ends_with("let a = 1;\n"), "{got}");
        let got = halve("t", text, &["x"]).unwrap();
        assert!(got.starts_with(
            "alias x4 = vec2<u32>;\nfn from_x(v: x4) -> vec4<f32> { return from_halves(v); }\n"
        ));
        let error = halve("k/v", text, &["y"]).unwrap_err();
        assert!(error.to_string().contains("has no `alias y4"));
    }

    #[test]
    fn defects_are_named() {
        let error = preprocess("k/v", "const A: u32 = 1u;", &[("B", 2)]).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("shader `k/v`: has no constant `B`")
        );
        let error = preprocess("k/v", "// #unroll\nwhile (true) {", &[]).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("no plain loop after #unroll in line 1")
        );
        let error = preprocess("k/v", "// #import common/none", &[]).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("there is no shader `common/none`")
        );
    }
}
