//! What a store holds, beneath everything that reads it: values unsealed, runs and documents taken apart.

use crate::model::tokens;
use crate::world::Held;
use redb::{ReadableDatabase, ReadableTable};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use syncd_engine::document;
use syncd_engine::log::run;
use syncd_engine::store::rows::{self, PartRow, RunRow};
use syncd_engine::store::seal::SealKey;
use syncd_engine::store::tables::Table;

/// The tokens in an image of a disk, each with a table that holds it.
///
/// # Errors
/// When the image is no store.
pub fn tokens_in(image: Vec<u8>, key: [u8; 32]) -> Held<BTreeMap<String, &'static str>> {
    let image = Image(Arc::new(Mutex::new(image)));
    let database = redb::Database::builder().create_with_backend(image)?;
    let read = database.begin_read()?;
    let key = SealKey::from_bytes(key.into());
    let mut found = BTreeMap::new();
    for table in Table::ALL.into_iter().filter(|table| *table != Table::Plain) {
        let definition = redb::TableDefinition::<&[u8], &[u8]>::new(table.name());
        for row in read.open_table(definition)?.iter()? {
            let (at, sealed) = row?;
            let bound = [b"sourceos-syncd/1/store/", table.name().as_bytes(), &[0], at.value()].concat();
            let bytes = key.open(&sealed.value()[1..], &bound).expect("every value opens");
            for text in texts(table, at.value(), bytes)? {
                let text: String = text.iter().map(|byte| char::from(*byte)).collect();
                found.extend(
                    tokens(&text)
                        .into_iter()
                        .filter(|token| is_token(token))
                        .map(|token| (token, table.name())),
                );
            }
        }
    }
    Ok(found)
}

fn is_token(token: &str) -> bool {
    token.trim_matches(['<', '>']).bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// The bytes of a row, and what is compressed in them.
fn texts(table: Table, at: &[u8], bytes: Vec<u8>) -> Held<Vec<Vec<u8>>> {
    let mut texts = Vec::new();
    match table {
        Table::Runs => {
            let row: RunRow = rows::decode(table, at, &bytes)?;
            // The ledger's runs are of another form, and say nothing of what was written.
            let records = run::decode(&row.bytes, row.open_len as usize).unwrap_or_default();
            texts.extend(records.into_iter().filter_map(|record| record.payload));
        }
        Table::Docs => {
            let row: PartRow = rows::decode(table, at, &bytes)?;
            if row.lengths.is_empty() {
                let doc = document::load(Some(&row.bytes), std::iter::empty())?;
                texts.extend(doc.get_changes(&[]).iter().map(|change| change.raw_bytes().to_vec()));
            }
        }
        _ => {}
    }
    texts.push(bytes);
    Ok(texts)
}

#[derive(Debug)]
struct Image(Arc<Mutex<Vec<u8>>>);

impl redb::StorageBackend for Image {
    fn len(&self) -> Result<u64, std::io::Error> {
        Ok(self.0.lock().expect("one thread").len() as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        out.copy_from_slice(
            &self.0.lock().expect("one thread")[offset as usize..offset as usize + out.len()],
        );
        Ok(())
    }
    fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
        self.0.lock().expect("one thread").resize(len as usize, 0);
        Ok(())
    }
    fn sync_data(&self) -> Result<(), std::io::Error> {
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        self.0.lock().expect("one thread")[offset as usize..offset as usize + data.len()]
            .copy_from_slice(data);
        Ok(())
    }
}
