//! Options of the binaries: `--name value`, in any order.

use std::error::Error;
use std::str::FromStr;

use perceiver::Engine;
use perceiver_datafusion::Functions;

/// What a binary was called with.
#[derive(Debug)]
pub struct Options {
    usage: &'static str,
    given: Vec<(String, String)>,
    /// What follows the options.
    pub rest: Vec<String>,
}

impl Options {
    /// Reads the arguments of the process; options are those that the usage names.
    ///
    /// # Errors
    /// The usage, for an option that is not known or has no value, and for `--help`.
    pub fn read(usage: &'static str) -> Result<Self, Box<dyn Error>> {
        Self::of(usage, std::env::args().skip(1))
    }

    fn of(
        usage: &'static str,
        arguments: impl Iterator<Item = String>,
    ) -> Result<Self, Box<dyn Error>> {
        let mut options = Options { usage, given: Vec::new(), rest: Vec::new() };
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            let Some(name) = argument.strip_prefix("--") else {
                options.rest.push(argument);
                continue;
            };
            let known = usage.contains(&format!("--{name} "));
            match arguments.next().filter(|_| known) {
                Some(value) => options.given.push((name.to_owned(), value)),
                None => return Err(usage.into()),
            }
        }
        Ok(options)
    }

    /// All values of an option.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.given.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The value of an option, or another.
    ///
    /// # Errors
    /// For a value that cannot be read.
    pub fn get<T: FromStr>(&self, name: &str, otherwise: T) -> Result<T, Box<dyn Error>> {
        match self.all(name).last() {
            Some(value) => value
                .parse()
                .map_err(|_| format!("--{name} {value}: no such value\n\n{}", self.usage).into()),
            None => Ok(otherwise),
        }
    }

    /// The functions of the model in the folder `--model`, on a device, for pictures of `--image` where that is given.
    ///
    /// # Errors
    /// Those of opening the device and the model.
    pub fn functions(&self, engine: &Engine) -> Result<Functions, Box<dyn Error>> {
        let folder: String = self.get("model", String::new())?;
        if folder.is_empty() {
            return Err(format!("--model is missing\n\n{}", self.usage).into());
        }
        let model = engine.load(folder)?;
        let mut sizes = model.description().usual_sizes();
        let image: String = self.get("image", String::new())?;
        if !image.is_empty() {
            let sides =
                image.split_once('x').and_then(|(h, w)| Some([h.parse().ok()?, w.parse().ok()?]));
            sizes.image = sides
                .ok_or_else(|| format!("--image {image}: no height and width\n\n{}", self.usage))?;
        }
        Ok(Functions::new(&model, &sizes, "perceiver")?)
    }
}
