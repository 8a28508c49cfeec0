//! Picks the indexed fields out of a row without writing the rest of it.

use std::fmt;

use serde::{
    Serialize, Serializer,
    ser::{self, Impossible},
};

use crate::{Index, IndexKind, IndexValue};

/// The index values of `row`, in the order of `indexes`; a field that is absent is NULL.
pub(crate) fn of<T: Serialize>(row: &T, indexes: &[Index]) -> Result<Vec<IndexValue>, String> {
    if indexes.is_empty() {
        return Ok(Vec::new());
    }
    let picked = Picked { indexes, values: vec![IndexValue::Null; indexes.len()] };
    row.serialize(Row(picked)).map_err(|error| error.0)
}

#[derive(Debug)]
struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl ser::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

struct Picked<'a> {
    indexes: &'a [Index],
    values: Vec<IndexValue>,
}

impl ser::SerializeStruct for Picked<'_> {
    type Ok = Vec<IndexValue>;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        let Some(place) = self.indexes.iter().position(|index| index.field == key) else {
            return Ok(());
        };
        let kind = self.indexes[place].kind;
        self.values[place] =
            value.serialize(Scalar { kind }).map_err(|error| Error(format!("field {key}: {}", error.0)))?;
        Ok(())
    }

    fn end(self) -> Result<Self::Ok, Error> {
        Ok(self.values)
    }
}

macro_rules! refuse {
    ($because:literal: $($method:ident($($argument:ty),*) -> $ok:ty;)*) => {
        $(fn $method(self, $(_: $argument),*) -> Result<$ok, Error> { Err(Error($because.to_owned())) })*
    };
}

macro_rules! refuse_compounds {
    ($because:literal) => {
        refuse! { $because:
            serialize_unit() -> Self::Ok;
            serialize_bytes(&[u8]) -> Self::Ok;
            serialize_unit_struct(&'static str) -> Self::Ok;
            serialize_seq(Option<usize>) -> Self::SerializeSeq;
            serialize_tuple(usize) -> Self::SerializeTuple;
            serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
            serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
            serialize_map(Option<usize>) -> Self::SerializeMap;
            serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant;
        }

        fn serialize_newtype_variant<T: Serialize + ?Sized>(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: &T,
        ) -> Result<Self::Ok, Error> {
            Err(Error($because.to_owned()))
        }

        fn serialize_newtype_struct<T: Serialize + ?Sized>(
            self,
            _: &'static str,
            value: &T,
        ) -> Result<Self::Ok, Error> {
            value.serialize(self)
        }
    };
}

/// A row: nothing but a struct with named fields.
struct Row<'a>(Picked<'a>);

impl<'a> Serializer for Row<'a> {
    type Ok = Vec<IndexValue>;
    type Error = Error;
    type SerializeSeq = Impossible<Self::Ok, Error>;
    type SerializeTuple = Impossible<Self::Ok, Error>;
    type SerializeTupleStruct = Impossible<Self::Ok, Error>;
    type SerializeTupleVariant = Impossible<Self::Ok, Error>;
    type SerializeMap = Impossible<Self::Ok, Error>;
    type SerializeStruct = Picked<'a>;
    type SerializeStructVariant = Impossible<Self::Ok, Error>;

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Picked<'a>, Error> {
        Ok(self.0)
    }

    refuse! { "a row with indexes is a struct with named fields":
        serialize_bool(bool) -> Self::Ok;
        serialize_i8(i8) -> Self::Ok;
        serialize_i16(i16) -> Self::Ok;
        serialize_i32(i32) -> Self::Ok;
        serialize_i64(i64) -> Self::Ok;
        serialize_u8(u8) -> Self::Ok;
        serialize_u16(u16) -> Self::Ok;
        serialize_u32(u32) -> Self::Ok;
        serialize_u64(u64) -> Self::Ok;
        serialize_f32(f32) -> Self::Ok;
        serialize_f64(f64) -> Self::Ok;
        serialize_char(char) -> Self::Ok;
        serialize_str(&str) -> Self::Ok;
        serialize_none() -> Self::Ok;
        serialize_unit_variant(&'static str, u32, &'static str) -> Self::Ok;
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Self::Ok, Error> {
        value.serialize(self)
    }

    refuse_compounds!("a row with indexes is a struct with named fields");
}

/// One indexed field.
struct Scalar {
    kind: IndexKind,
}

impl Scalar {
    fn text(&self, text: &str) -> Result<IndexValue, Error> {
        self.kind.parse(text).ok_or_else(|| Error(format!("{text:?} is no {}", self.kind)))
    }

    fn whole(&self, number: Option<i64>) -> Result<IndexValue, Error> {
        match (self.kind, number) {
            (IndexKind::Integer, Some(number)) => Ok(IndexValue::Integer(number)),
            _ => Err(Error(format!("a number is no {} of 64 bits", self.kind))),
        }
    }
}

impl Serializer for Scalar {
    type Ok = IndexValue;
    type Error = Error;
    type SerializeSeq = Impossible<Self::Ok, Error>;
    type SerializeTuple = Impossible<Self::Ok, Error>;
    type SerializeTupleStruct = Impossible<Self::Ok, Error>;
    type SerializeTupleVariant = Impossible<Self::Ok, Error>;
    type SerializeMap = Impossible<Self::Ok, Error>;
    type SerializeStruct = Impossible<Self::Ok, Error>;
    type SerializeStructVariant = Impossible<Self::Ok, Error>;

    fn serialize_bool(self, truth: bool) -> Result<IndexValue, Error> {
        match self.kind {
            IndexKind::Boolean => Ok(IndexValue::Integer(truth.into())),
            kind => Err(Error(format!("true or false is no {kind}"))),
        }
    }

    fn serialize_i8(self, number: i8) -> Result<IndexValue, Error> {
        self.whole(Some(number.into()))
    }

    fn serialize_i16(self, number: i16) -> Result<IndexValue, Error> {
        self.whole(Some(number.into()))
    }

    fn serialize_i32(self, number: i32) -> Result<IndexValue, Error> {
        self.whole(Some(number.into()))
    }

    fn serialize_i64(self, number: i64) -> Result<IndexValue, Error> {
        self.whole(Some(number))
    }

    fn serialize_u8(self, number: u8) -> Result<IndexValue, Error> {
        self.whole(Some(number.into()))
    }

    fn serialize_u16(self, number: u16) -> Result<IndexValue, Error> {
        self.whole(Some(number.into()))
    }

    fn serialize_u32(self, number: u32) -> Result<IndexValue, Error> {
        self.whole(Some(number.into()))
    }

    fn serialize_u64(self, number: u64) -> Result<IndexValue, Error> {
        self.whole(number.try_into().ok())
    }

    fn serialize_str(self, text: &str) -> Result<IndexValue, Error> {
        self.text(text)
    }

    fn serialize_char(self, character: char) -> Result<IndexValue, Error> {
        self.text(character.encode_utf8(&mut [0; 4]))
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<IndexValue, Error> {
        self.text(variant)
    }

    fn serialize_none(self) -> Result<IndexValue, Error> {
        Ok(IndexValue::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<IndexValue, Error> {
        value.serialize(self)
    }

    fn serialize_f32(self, _: f32) -> Result<IndexValue, Error> {
        Err(Error("numbers with a fraction are not exact: index a decimal string".to_owned()))
    }

    fn serialize_f64(self, _: f64) -> Result<IndexValue, Error> {
        Err(Error("numbers with a fraction are not exact: index a decimal string".to_owned()))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, Error> {
        Err(Error("an object cannot be indexed".to_owned()))
    }

    refuse_compounds!("only text, whole numbers, decimal strings, times and booleans can be indexed");
}
