//! The program: everything is in the library, so that tests and apps can use it.

use std::process::ExitCode;

fn main() -> ExitCode {
    sourceos_syncd::cli::main()
}
