//! Unit tests of `src/gpu/shader.rs`.

use super::*;

#[test]
fn loops_are_written_out_with_inner_ones() {
    let text = "const A: u32 = 1u;\nconst B: u32 = 2u * A;\n// #unroll\nfor (var i = 0u; i < A; i++) {\n  // #unroll\n  for (var j = 0u; j < B; j++) {\n    x[i * B + j] += hit.i;\n  }\n}";
    let got = preprocess("t", text, &[("A", 2)]).unwrap();
    assert!(got.starts_with("const A: u32 = 2u;\nconst B: u32 = 4u;\n"));
    for (i, j) in [(0, 0), (0, 3), (1, 0), (1, 3)] {
        assert!(got.contains(&format!("x[{i}u * B + {j}u] += hit.i;")), "{got}");
    }
    assert!(!got.contains("for"));
}

#[test]
fn blocks_are_kept_by_constants_and_arrays_are_narrowed() {
    let text = "const N: u32 = 12u / 4u * 2u + 1u;\n// #if N == 7u\nlet a = 1;\n// #else\nlet b = 2;\n// #endif";
    let got = preprocess("t", text, &[]).unwrap();
    assert_eq!(got, "const N: u32 = 7u;\nlet a = 1;\n");
    let got = preprocess("t", text, &[("N", 2)]).unwrap();
    assert_eq!(got, "const N: u32 = 2u;\nlet b = 2;\n");
    let text = "alias x4 = vec4<f32>;\nfn from_x(v: x4) -> vec4<f32> { return v; }\n";
    let got = narrow("t", text, &["x"]).unwrap();
    assert!(got.starts_with(
        "alias x4 = vec2<u32>;\nfn from_x(v: x4) -> vec4<f32> { return from_f16(v); }\n"
    ));
    let error = narrow("k/v", text, &["y"]).unwrap_err();
    assert!(error.to_string().contains("has no `alias y4"));
}

#[test]
fn defects_are_named() {
    let error = preprocess("k/v", "const A: u32 = 1u;", &[("B", 2)]).unwrap_err();
    assert!(error.to_string().contains("shader `k/v`: has no constant `B`"));
    let error = preprocess("k/v", "// #unroll\nwhile (true) {", &[]).unwrap_err();
    assert!(error.to_string().contains("no plain loop after #unroll in line 1"));
    let error = preprocess("k/v", "// #if A == 1u", &[]).unwrap_err();
    assert!(error.to_string().contains("cannot evaluate `// #if A"));
    let error = imported("k/v", "// #import common/none").unwrap_err();
    assert!(error.to_string().contains("there is no shader `common/none`"));
}
