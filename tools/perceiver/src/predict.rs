//! What dispatches should take on cards that are not at hand: predictions from data sheets, instruction counts and sizes.

use std::collections::BTreeMap;

use perceiver::internals::graph::Plan;
use perceiver::internals::kernels::attention::Attention;
use perceiver::internals::kernels::factored_attention::{FactoredAttention, Factors};
use perceiver::internals::kernels::gemm::Gemm;
use perceiver::internals::kernels::{DeviceTraits, Op, Role, SOFTWARE_LOOP_ITERATIONS, Variant};
use perceiver::internals::measure::{Bound, Card, Counted, Prediction};
use perceiver::internals::model::{plan_of, window_bytes};
use perceiver::internals::perceiver::Request;
use perceiver::internals::tensor::Element;
use perceiver::{Error, Precision, Result};
use serde_json::{Value, json};

use crate::show;

/// What stands above every table.
pub(crate) const HEAD: &str = "prediction, not measurement";

/// By family of instruction sets and variant; `tools/predict/counts.py` wrote it.
const COUNTS: &str = include_str!("predict/counts.json");

/// RDNA: two SIMDs of 32 lanes, 128 bytes of workgroup memory a cycle for a compute unit; subgroups of 64 are what Mesa's
/// driver gives compute shaders. That RDNA3 and 4 run multiply-adds and some other f32 instructions of a subgroup of 64 in one
/// cycle, the quarter rates, and 32 cycles for a product of cooperative matrices are what the cost model of Mesa's compiler has.
const RDNA: Card = Card {
    name: "",
    family: "",
    units: 0.0,
    simds: 2.0,
    lanes: 32.0,
    subgroup: 64.0,
    clock: 0.0,
    pairs: 2.0,
    matrix_cycles: 0.0,
    shared_rate: 128.0,
    shared_bytes: 65_536.0,
    registers: 1536.0 * 32.0,
    subgroups: 16.0,
    cache_rate: 0.0,
    large_cache: [0.0, 0.0],
    memory_rate: 0.0,
    launch: 4e-6,
};

/// Units, boost clocks and memory as makers state them. Rates of caches and the time of a dispatch are rough: nobody has
/// looked them up or measured them for this.
const CARDS: [(&str, Card); 5] = [
    (
        "7900xtx",
        Card {
            name: "AMD Radeon RX 7900 XTX",
            family: "navi31",
            units: 96.0,
            clock: 2.5e9,
            matrix_cycles: 32.0,
            cache_rate: 5.0e12,
            large_cache: [96e6, 3.0e12],
            memory_rate: 960e9,
            ..RDNA
        },
    ),
    (
        "6800xt",
        Card {
            name: "AMD Radeon RX 6800 XT",
            family: "navi21",
            units: 72.0,
            clock: 2.25e9,
            pairs: 1.0,
            registers: 1024.0 * 32.0,
            cache_rate: 2.5e12,
            large_cache: [128e6, 1.6e12],
            memory_rate: 512e9,
            ..RDNA
        },
    ),
    (
        "9070xt",
        Card {
            name: "AMD Radeon RX 9070 XT",
            family: "gfx1201",
            units: 64.0,
            clock: 2.97e9,
            cache_rate: 4.0e12,
            large_cache: [64e6, 2.5e12],
            memory_rate: 640e9,
            ..RDNA
        },
    ),
    (
        "h200",
        Card {
            name: "NVIDIA H200",
            units: 132.0,
            simds: 4.0,
            subgroup: 32.0,
            clock: 1.98e9,
            pairs: 1.0,
            matrix_cycles: 8.0,
            shared_bytes: 228.0 * 1024.0,
            registers: 512.0 * 32.0,
            cache_rate: 5.5e12,
            large_cache: [50e6, 5.5e12],
            memory_rate: 4.8e12,
            ..RDNA
        },
    ),
    // Two cores with vectors of eight; loads go word by word and lane by lane, five cycles each, which is fitted to the rate
    // of one product.
    (
        "llvmpipe",
        Card {
            name: "llvmpipe on two cores",
            units: 2.0,
            simds: 1.0,
            lanes: 8.0,
            subgroup: 8.0,
            clock: 3e9,
            pairs: 2.0,
            shared_bytes: 1e6,
            registers: 1e9,
            subgroups: 1.0,
            cache_rate: 5e9,
            memory_rate: 10e9,
            launch: 50e-6,
            ..RDNA
        },
    ),
];

/// A card, and what its compiler made of variants.
pub(crate) struct Predictor {
    pub(crate) card: Card,
    pub(crate) traits: DeviceTraits,
    counts: BTreeMap<String, Counted>,
}

/// Dispatches that are alike.
pub(crate) struct Kind {
    stage: &'static str,
    op: Op,
    variant: Variant,
    launches: u64,
    each: Prediction,
    /// The variant that is fastest by prediction.
    best: (Variant, Prediction),
}

impl Predictor {
    /// By the short name of a card.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let wanted = name.to_lowercase().replace([' ', '-'], "");
        let Some((_, card)) = CARDS.iter().find(|(short, _)| *short == wanted) else {
            let names: Vec<&str> = CARDS.iter().map(|(short, _)| *short).collect();
            return Err(Error::input(
                "card",
                format!("`{name}` is unknown"),
                format!("one of {names:?}"),
            ));
        };
        let mut families: BTreeMap<String, BTreeMap<String, Counted>> =
            serde_json::from_str(COUNTS)
                .map_err(|e| Error::input("counts", e.to_string(), "what tools/predict wrote"))?;
        let software = card.lanes < 32.0;
        let traits = match software {
            true => DeviceTraits {
                software,
                int64: true,
                tiles: false,
                busy_workgroups: card.units as u32,
                loop_iterations: SOFTWARE_LOOP_ITERATIONS,
                invocations: 1024,
                workgroup_bytes: 32_768,
                subgroups: Some([8, 8]),
                ..DeviceTraits::webgpu_default()
            },
            false => DeviceTraits {
                int64: true,
                invocations: 1024,
                workgroup_bytes: if card.subgroup == 64.0 { 65_536 } else { 49_152 },
                subgroups: Some([32, card.subgroup as u32]),
                cooperative: (card.matrix_cycles > 0.0).then_some(16),
                array_bytes: 2 << 30,
                ..DeviceTraits::webgpu_default()
            },
        };
        let counts = families.remove(card.family).unwrap_or_default();
        Ok(Predictor { card: card.clone(), traits, counts })
    }

    /// Counts of a variant, or of the same tile with other arrays as f16.
    fn counted(&self, variant: &Variant) -> Option<&Counted> {
        let form = |mode: &str, f16: &str| {
            let mode = mode.replace(' ', "_");
            let gap = if mode.is_empty() { "" } else { "_" };
            format!("{}.{}{gap}{mode}{f16}", variant.kernel, variant.name)
        };
        let own = match variant.f16.is_empty() {
            true => String::new(),
            false => format!("_f16-{}", variant.f16.join("-")),
        };
        let others = [&*own, "", "_f16-x-weight-y", "_f16-q-k-v-y"];
        let found = others.iter().find_map(|f16| self.counts.get(&form(variant.mode.name, f16)));
        found.or_else(|| others.iter().find_map(|f16| self.counts.get(&form("", f16))))
    }

    pub(crate) fn predict(&self, op: &Op, variant: &Variant) -> Prediction {
        self.card.predict(op, variant, self.counted(variant))
    }

    /// The variant that would run an op, and the one that is fastest by prediction.
    fn chosen(&self, op: &Op) -> Option<[(Variant, Prediction); 2]> {
        let candidates = op.candidates(&self.traits);
        let mut all = candidates.into_iter().map(|v| (v, self.predict(op, &v)));
        let first = all.next()?;
        let best = all.fold(first, |a, b| if b.1.seconds < a.1.seconds { b } else { a });
        Some([first, best])
    }

    /// Dispatches of one run of a model, those that are alike together, in the order of a run.
    pub(crate) fn run(&self, plan: &Plan) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = Vec::new();
        for node in &plan.graph().nodes[plan.once()..] {
            let stage = node.stage.name();
            let known = kinds.iter_mut().find(|k| k.stage == stage && k.op == node.op);
            match known {
                Some(kind) => kind.launches += 1,
                None => {
                    let Some([(variant, each), best]) = self.chosen(&node.op) else { continue };
                    kinds.push(Kind { stage, op: node.op, variant, launches: 1, each, best });
                }
            }
        }
        kinds
    }

    /// The plan of a model on the card.
    pub(crate) fn plan(
        &self,
        blueprint: &perceiver::blueprint::Blueprint,
        request: Request,
        precision: Precision,
    ) -> Result<Plan> {
        let request = Request { window_bytes: window_bytes(Some(&self.traits)), ..request };
        plan_of(blueprint, &request, Some(&self.traits), precision)
    }

    fn sentence(&self, kinds: &[Kind]) -> String {
        let [time, least, best, flops] = sums(kinds);
        format!(
            "{HEAD}: {} on {}, {:.0} % of what its peaks allow, {:.1} TFLOP/s; {} with the variants that are best by \
             prediction",
            show::seconds(time),
            self.card.name,
            100.0 * least / time,
            flops / time / 1e12,
            show::seconds(best),
        )
    }

    /// A table of dispatches and a sentence of the sum.
    pub(crate) fn print(&self, kinds: &[Kind]) -> Result<()> {
        show::text(&format!("{} ({HEAD}):", self.card.name))?;
        let rows = kinds.iter().map(|k| {
            vec![
                k.stage.to_owned(),
                k.op.kernel().to_owned(),
                k.op.describe(),
                k.variant.title(),
                k.launches.to_string(),
                show::seconds(k.each.seconds * k.launches as f64),
                percent(&k.each),
                bound(k.each.bound),
                if k.each.counted { "counted" } else { "estimated" }.to_owned(),
                match k.best.0 == k.variant {
                    true => String::new(),
                    false => format!(
                        "{} {}",
                        k.best.0.name,
                        show::seconds(k.best.1.seconds * k.launches as f64)
                    ),
                },
            ]
        });
        let heading = [
            "stage",
            "kernel",
            "shape",
            "variant",
            "dispatches",
            "time",
            "of peak",
            "bound by",
            "instructions",
            "best by prediction",
        ];
        show::table(&heading, rows.collect())?;
        show::text(&self.sentence(kinds))
    }

    pub(crate) fn json(&self, kinds: &[Kind]) -> Value {
        let [time, least, best, flops] = sums(kinds);
        json!({
            "what": HEAD,
            "card": self.card,
            "seconds": time,
            "share": least / time,
            "flops": flops,
            "seconds_by_best": best,
            "dispatches": kinds.iter().map(Kind::json).collect::<Vec<_>>(),
        })
    }

    /// Ops that have been timed on a device or are aims, each with the variants of a list that can run it.
    pub(crate) fn kernels(&self, variants: &[Variant]) -> Vec<Kind> {
        let mut kinds = Vec::new();
        for op in samples() {
            let list = op.candidates(&self.traits);
            let list: Vec<Variant> = list.into_iter().filter(|v| variants.contains(v)).collect();
            let all: Vec<_> = list.into_iter().map(|v| (v, self.predict(&op, &v))).collect();
            let best =
                all.iter().copied().reduce(|a, b| if b.1.seconds < a.1.seconds { b } else { a });
            let Some(best) = best else { continue };
            let one = |(variant, each)| Kind { stage: "", op, variant, launches: 1, each, best };
            kinds.extend(all.into_iter().map(one));
        }
        kinds
    }

    /// The fastest variant of each op and the one that would run it.
    pub(crate) fn print_kernels(&self, kinds: &[Kind]) -> Result<()> {
        show::text(&format!("{} ({HEAD}):", self.card.name))?;
        let mut rows = Vec::new();
        let mut seen: Option<Op> = None;
        for k in kinds {
            // Candidates come in their order: the first is what would run.
            if seen.replace(k.op) == Some(k.op) && k.best.0 != k.variant {
                continue;
            }
            rows.push(vec![
                k.op.kernel().to_owned(),
                k.op.describe(),
                k.variant.title(),
                show::seconds(k.each.seconds),
                format!("{:.1}", k.op.cost().flops as f64 / k.each.seconds / 1e12),
                percent(&k.each),
                bound(k.each.bound),
                format!("{:.1}", k.each.resident),
                if k.each.counted { "counted" } else { "estimated" }.to_owned(),
                if k.best.0 == k.variant { "best" } else { "" }.to_owned(),
            ]);
        }
        let heading = [
            "kernel",
            "shape",
            "variant",
            "time",
            "TFLOP/s",
            "of peak",
            "bound by",
            "subgroups a SIMD",
            "instructions",
            "",
        ];
        show::table(&heading, rows)
    }
}

impl Kind {
    pub(crate) fn json(&self) -> Value {
        json!({
            "stage": self.stage,
            "kernel": self.op.kernel(),
            "shape": self.op.describe(),
            "variant": self.variant.title(),
            "launches": self.launches,
            "each": self.each,
            "share": self.each.least / self.each.seconds,
            "flops": self.op.cost().flops,
            "bytes": self.op.cost().bytes,
            "best": { "variant": self.best.0.title(), "seconds": self.best.1.seconds },
        })
    }
}

/// Seconds, seconds by the peaks, seconds with the best variants, operations.
fn sums(kinds: &[Kind]) -> [f64; 4] {
    kinds.iter().fold([0.0; 4], |sum, k| {
        let n = k.launches as f64;
        let of = [k.each.seconds, k.each.least, k.best.1.seconds, k.op.cost().flops as f64];
        std::array::from_fn(|i| sum[i] + n * of[i])
    })
}

fn percent(p: &Prediction) -> String {
    format!("{:.0} %", 100.0 * p.least / p.seconds)
}

fn bound(bound: Bound) -> String {
    match bound {
        Bound::Issue => "instructions",
        Bound::Shared => "workgroup memory",
        Bound::Waits => "waits",
        Bound::Cache => "cache",
        Bound::Memory => "memory",
        Bound::Launch => "the dispatch",
    }
    .to_owned()
}

/// Those of `benches/results/2026-11-26-h200-tiles.md`, in its order.
fn samples() -> Vec<Op> {
    let mut list: Vec<Op> = Vec::new();
    let products = [
        [2048, 2048, 2048],
        [4096, 4096, 4096],
        [2048, 512, 512],
        [2048, 512, 1536],
        [512, 1024, 1024],
        [256, 1280, 1280],
        [768, 512, 768],
    ];
    list.extend(products.map(|[m, k, n]| Op::Gemm(Gemm::new(m, k, n))));
    for [m, k, n] in [&products[..3], &products[4..6]].concat() {
        let mut op = Op::Gemm(Gemm::new(m, k, n));
        for role in Role::NARROW {
            op.set_element(role, Element::F16);
        }
        list.push(op);
    }
    let attentions = [
        [2048, 2048, 16, 32, 32, 1],
        [2048, 2048, 8, 64, 64, 1],
        [2048, 2048, 8, 128, 128, 1],
        [2048, 16384, 1, 322, 322, 8],
        [512, 16384, 1, 261, 261, 16],
        [784, 16384, 1, 704, 704, 8],
        [16384, 2048, 1, 64, 512, 1],
        [512, 512, 8, 128, 128, 1],
        [512, 512, 8, 96, 96, 1],
        [256, 2048, 8, 32, 160, 4],
        [256, 256, 8, 160, 160, 1],
        [784, 784, 8, 64, 64, 1],
    ];
    list.extend(attentions.map(|[queries, keys, heads, qk, v, splits]| {
        Op::Attention(Attention { splits, ..Attention::new(queries, keys, heads, qk, v) })
    }));
    let factored: [(usize, usize, &[usize], usize); 4] = [
        (2048, 64, &[368, 496], 8),
        (512, 3, &[224, 224], 32),
        (784, 48, &[16, 56, 56], 16),
        (512, 64, &[112, 112], 16),
    ];
    list.extend(factored.map(|(queries, content, axes, splits)| {
        let dimensions = axes.len();
        let axes = std::array::from_fn(|i| axes.get(i).copied().unwrap_or(1));
        let factors = Factors { content, dimensions, axes };
        let keys = axes.iter().product();
        Op::FactoredAttention(FactoredAttention {
            splits,
            ..FactoredAttention::new(queries, keys, factors)
        })
    }));
    list
}
