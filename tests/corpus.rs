//! The corpus of the fuzz targets, through the same functions, with the ordinary compiler: an input
//! that once broke something stays a test for everybody.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::path::Path;

#[test]
fn no_input_of_the_corpus_breaks_anything() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, run) in targets::TARGETS {
        let files = fs::read_dir(corpus.join(name)).expect("every target has a corpus");
        let mut files: Vec<_> = files.map(|file| file.expect("it is listed").path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{name} has an empty corpus");
        for file in files {
            // What fails is told before the panic.
            println!("{}", file.display());
            run(&fs::read(&file).expect("it is a file"));
        }
    }
}
