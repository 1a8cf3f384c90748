//! Blueprints as folders, given to the command.

use perceiver::blueprint::{Modality, Output, PerceiverBuilder, Sharing};
use perceiver::internals::perceiver::blueprint::Blueprint;
use perceiver::internals::weights::{RandomTensors, TensorSource};
use perceiver::{Engine, NamedTensors, Tensor};

use super::{json, refusal, string, succeeded};

fn run(folder: &std::path::Path, inputs: &NamedTensors) -> NamedTensors {
    let model = Engine::cpu().load(folder).expect("model");
    model.run(inputs, &mut |_, _| {}).expect("run")
}

fn named(list: Vec<(&str, Tensor)>) -> NamedTensors {
    let owned = list.into_iter().map(|(name, t)| (name.to_owned(), t));
    owned.collect()
}

fn floats(shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    let data = (0..n).map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0);
    Tensor::f32(shape.to_vec(), data.collect()).expect("a tensor")
}

/// Two modalities, repeated cross-attends, three kinds of queries.
fn example() -> PerceiverBuilder {
    PerceiverBuilder::new(6, 16)
        .input(Modality::given("sound", 90, 4).fourier(&[90], 3).mask())
        .input(Modality::linear("sensors", 7, 3, 5).trainable_positions(4))
        .repeated(3, 2, (1, 4), Sharing::AfterFirst)
        .output(Output::new("class", Modality::learned("class", 1, 8)).linear(5).shape(&[5]))
        .output(
            Output::new("pixels", Modality::bare("grid", 9).fourier(&[6, 5], 2).points()).linear(3),
        )
        .output(Output::new("asked", Modality::given("asked", 4, 6)).linear(6).linear(2))
}

fn asking() -> Blueprint {
    PerceiverBuilder::new(5, 16)
        .input(Modality::given("set", 8, 3).mask().varies())
        .cross("cross", 1)
        .output(Output::new("answer", Modality::given("question", 4, 6).varies()).linear(2))
        .output(
            Output::new("pixels", Modality::bare("grid", 5).fourier(&[6, 5], 2).points().varies())
                .linear(3),
        )
        .build()
        .expect("a blueprint")
}

/// A folder with `config.json` and `model.safetensors`, as a user would make it.
fn folder(blueprint: &Blueprint) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    blueprint.write(folder.path()).expect("written");
    let shapes = blueprint.tensors().expect("tensors");
    let source = RandomTensors::new(shapes.clone(), 5);
    let tensors: NamedTensors = shapes
        .into_iter()
        .map(|(name, shape)| {
            let data = source.read_f32(&name).expect("data");
            (name, Tensor::f32(shape, data).expect("tensor"))
        })
        .collect();
    let path = folder.path().join("model.safetensors");
    perceiver::checkpoint::write_tensors(path, &tensors).expect("written");
    folder
}

#[test]
fn a_folder_is_a_model() {
    let blueprint = example().build().expect("a blueprint");
    let folder = folder(&blueprint);
    let inputs = blueprint.sample_inputs(2, 1).expect("inputs");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let [given, written] = ["inputs.safetensors", "outputs.safetensors"].map(path);
    perceiver::checkpoint::write_tensors(&given, &inputs).expect("written");
    let at = string(folder.path());
    succeeded(&[
        "run",
        "--model",
        at,
        "--inputs",
        &given,
        "--outputs",
        &written,
        "--device",
        "cpu",
        "--json",
    ]);
    let found = perceiver::checkpoint::read_tensors(&written).expect("outputs");
    assert_eq!(found, run(folder.path(), &inputs));

    let plan = json(&["plan", at, "--json"]);
    let shapes = blueprint.tensors().expect("tensors");
    let elements: usize = shapes.iter().map(|(_, s)| s.iter().product::<usize>()).sum();
    assert_eq!(plan["parameters"], elements);
    // [3·97 inputs + 14 outputs + 3 layers · 6 latents] · 6 latents · 16 channels, twice.
    assert_eq!(plan["formula_flops"], 2 * (3 * 97 + 14 + 3 * 6) * 6 * 16);

    let said = refusal(&["plan", at, "--length", "5"]);
    assert!(
        said.contains("input `sizes`: are asked for, but this model is a blueprint; expected none"),
        "{said}"
    );
    let said = refusal(&["fill-mask", "--model", at, "a text"]);
    assert!(said.contains("cannot be used for filling masks"), "{said}");
}

/// What is asked later is what a run answers, through files and the command.
#[test]
fn latents_of_a_blueprint() {
    let folder = folder(&asking());
    let at = |name: &str| folder.path().join(name).display().to_string();
    let mask = Tensor::i64(vec![1, 11], (0..11).map(|i| i64::from(i % 3 > 0)).collect());
    let question = floats(&[1, 7, 6]);
    let points = Tensor::i64(vec![2], vec![4, 28]).expect("points");
    let inputs = named(vec![
        ("set", floats(&[1, 11, 3])),
        ("set.mask", mask.expect("mask")),
        ("queries.question", question.clone()),
        ("points.grid", points),
    ]);
    let write = |name: &str, tensors: &NamedTensors| {
        perceiver::checkpoint::write_tensors(at(name), tensors).expect("written");
    };
    write("inputs.safetensors", &inputs);
    write("question.safetensors", &named(vec![("any", question)]));
    let cpu = ["--device", "cpu"];
    let model = string(folder.path());
    let [given, latents, out, question] =
        ["inputs", "latents", "out", "question"].map(|name| at(&format!("{name}.safetensors")));
    let encode = ["latents", "encode", "--model", model, "--inputs", &given];
    succeeded(&[&encode[..], &["-o", &latents], &cpu].concat());
    let wanted = run(folder.path(), &inputs);
    let decode = ["latents", "decode", "--model", model, &latents, "-o", &out];
    for (output, more) in [("answer", ["--content", &question]), ("pixels", ["--queries", "4,28"])]
    {
        succeeded(&[&decode[..], &["--output", output], &more, &cpu].concat());
        let found = perceiver::checkpoint::read_tensors(&out).expect("rows");
        let [found, wanted] = [&found, &wanted].map(|t| t[output].as_f32().expect("f32"));
        assert_eq!(found.len(), wanted.len());
        let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
        assert!(found.iter().zip(wanted).all(near), "{output}");
    }
    let said = refusal(&[&decode[..], &["--output", "answer"], &cpu].concat());
    assert!(said.contains("--content"), "{said}");
}
