//! Enums whose variant name travels apart from their content: a command's name is in the path, an event's in a column.

use std::collections::BTreeMap;

use serde::{
    Serialize, Serializer,
    de::{self, DeserializeOwned, DeserializeSeed, EnumAccess, IgnoredAny, IntoDeserializer, VariantAccess, Visitor},
    forward_to_deserialize_any,
    ser::{self, Impossible, SerializeStruct},
};
use serde_json::Error;

type Json<'w> = serde_json::Serializer<&'w mut Vec<u8>>;

/// Writes the content of `value`, an enum, to `out` and returns the variant's name. A unit variant writes `{}`.
pub(crate) fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<&'static str, Error> {
    let mut json = serde_json::Serializer::new(out);
    value.serialize(Encoder { json: &mut json })
}

/// Reads the variant called `variant` of an enum from its content. Fields that nobody asks for are passed over.
pub(crate) fn decode<T: DeserializeOwned>(variant: &'static str, content: &[u8]) -> Result<T, Error> {
    T::deserialize(Decoder { variant, content, unknown: None })
}

/// As [`decode`], and tells `unknown` of every field that nobody asks for. It costs a copy of each field's name.
pub(crate) fn decode_exactly<T: DeserializeOwned>(
    variant: &'static str,
    content: &[u8],
    unknown: &mut dyn FnMut(String),
) -> Result<T, Error> {
    T::deserialize(Decoder { variant, content, unknown: Some(unknown) })
}

/// The names of an enum's variants, as serde knows them; `None` where `T` is no enum.
pub(crate) fn names<T: DeserializeOwned>() -> Option<&'static [&'static str]> {
    let mut found = None;
    // The probe answers every question with an error, once it has seen which names were asked for.
    let _ = T::deserialize(Probe(&mut found));
    found
}

struct Encoder<'a, 'w> {
    json: &'a mut Json<'w>,
}

struct Fields<'a, 'w> {
    variant: &'static str,
    fields: <&'a mut Json<'w> as Serializer>::SerializeStruct,
}

impl ser::SerializeStructVariant for Fields<'_, '_> {
    type Ok = &'static str;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        SerializeStruct::serialize_field(&mut self.fields, key, value)
    }

    fn end(self) -> Result<&'static str, Error> {
        SerializeStruct::end(self.fields)?;
        Ok(self.variant)
    }
}

fn not_an_enum<T>() -> Result<T, Error> {
    Err(ser::Error::custom("commands and events are enums with unit, struct or one-field variants"))
}

macro_rules! refuse {
    ($($method:ident($($argument:ty),*);)*) => {
        $(fn $method(self, $(_: $argument),*) -> Result<Self::Ok, Error> { not_an_enum() })*
    };
}

impl<'a, 'w> Serializer for Encoder<'a, 'w> {
    type Ok = &'static str;
    type Error = Error;
    type SerializeSeq = Impossible<Self::Ok, Error>;
    type SerializeTuple = Impossible<Self::Ok, Error>;
    type SerializeTupleStruct = Impossible<Self::Ok, Error>;
    type SerializeTupleVariant = Impossible<Self::Ok, Error>;
    type SerializeMap = Impossible<Self::Ok, Error>;
    type SerializeStruct = Impossible<Self::Ok, Error>;
    type SerializeStructVariant = Fields<'a, 'w>;

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Self::Ok, Error> {
        self.json.serialize_struct("", 0)?.end()?;
        Ok(variant)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Self::Ok, Error> {
        value.serialize(&mut *self.json)?;
        Ok(variant)
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Fields<'a, 'w>, Error> {
        Ok(Fields { variant, fields: self.json.serialize_struct(name, length)? })
    }

    refuse! {
        serialize_bool(bool); serialize_i8(i8); serialize_i16(i16); serialize_i32(i32); serialize_i64(i64);
        serialize_u8(u8); serialize_u16(u16); serialize_u32(u32); serialize_u64(u64);
        serialize_f32(f32); serialize_f64(f64); serialize_char(char); serialize_str(&str); serialize_bytes(&[u8]);
        serialize_none(); serialize_unit(); serialize_unit_struct(&'static str);
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<Self::Ok, Error> {
        not_an_enum()
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<Self::Ok, Error> {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Error> {
        not_an_enum()
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Error> {
        not_an_enum()
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Error> {
        not_an_enum()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        not_an_enum()
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Error> {
        not_an_enum()
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, Error> {
        not_an_enum()
    }
}

struct Decoder<'de, 'u> {
    variant: &'static str,
    content: &'de [u8],
    unknown: Option<&'u mut dyn FnMut(String)>,
}

impl<'de> de::Deserializer<'de> for Decoder<'de, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(de::Error::custom("commands and events are enums"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for Decoder<'de, '_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let name: de::value::StrDeserializer<'static, Error> = self.variant.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

/// `content` as that of a variant with named fields: an object, or nothing where all fields may be absent.
///
/// serde would take an array as well, and read the fields from it by their order.
fn object(content: &[u8]) -> Result<&[u8], Error> {
    match content.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => Ok(b"{}"),
        Some(b'[') => Err(de::Error::custom("invalid type: sequence, expected an object with the fields")),
        Some(_) => Ok(content),
    }
}

impl<'de> VariantAccess<'de> for Decoder<'de, '_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        let fields: BTreeMap<String, IgnoredAny> = serde_json::from_slice(object(self.content)?)?;
        if let Some(unknown) = self.unknown {
            fields.keys().for_each(|name| unknown(format!("/{}", escaped(name))));
        }
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        let mut json = serde_json::Deserializer::from_slice(self.content);
        let value = match self.unknown {
            Some(unknown) => {
                let mut ignored = |path: serde_ignored::Path<'_>| unknown(pointer(&path));
                seed.deserialize(serde_ignored::Deserializer::new(&mut json, &mut ignored))?
            }
            None => seed.deserialize(&mut json)?,
        };
        json.end()?;
        Ok(value)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Error> {
        Err(de::Error::custom("a variant with several unnamed fields has no JSON object to be read from"))
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        let mut json = serde_json::Deserializer::from_slice(object(self.content)?);
        let value = match self.unknown {
            Some(unknown) => {
                let mut ignored = |path: serde_ignored::Path<'_>| unknown(pointer(&path));
                let reader = serde_ignored::Deserializer::new(&mut json, &mut ignored);
                de::Deserializer::deserialize_struct(reader, "", fields, visitor)?
            }
            None => de::Deserializer::deserialize_struct(&mut json, "", fields, visitor)?,
        };
        json.end()?;
        Ok(value)
    }
}

/// One name as a JSON Pointer spells it.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// JSON Pointer (RFC 6901) of a place in the content.
fn pointer(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}/{index}", pointer(parent)),
        Path::Map { parent, key } => format!("{}/{}", pointer(parent), escaped(key)),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => pointer(parent),
    }
}

/// Where in `content` reading the variant fails, as a JSON Pointer, and why. Slow: for a content that has failed already.
pub(crate) fn explain<T: DeserializeOwned>(variant: &'static str, content: &[u8]) -> (String, String) {
    let mut track = serde_path_to_error::Track::new();
    let decoder = Tracked { decoder: Decoder { variant, content, unknown: None }, track: &mut track };
    match T::deserialize(decoder) {
        Ok(_) => (String::new(), "the content is not readable".to_owned()),
        Err(error) => (place(&track.path()), without_location(&error)),
    }
}

fn place(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(format!("/{index}")),
            Segment::Map { key } => Some(format!("/{}", escaped(key))),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

/// serde's words without its line and column, which count in a text the client may not have written in lines.
fn without_location(error: &Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// As [`Decoder`], and remembers where it was when it failed.
struct Tracked<'de, 'u, 't> {
    decoder: Decoder<'de, 'u>,
    track: &'t mut serde_path_to_error::Track,
}

impl<'de> de::Deserializer<'de> for Tracked<'de, '_, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.decoder.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for Tracked<'de, '_, '_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let (value, decoder) = self.decoder.variant_seed(seed)?;
        Ok((value, Self { decoder, track: self.track }))
    }
}

impl<'de> VariantAccess<'de> for Tracked<'de, '_, '_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        self.decoder.unit_variant()
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        let mut json = serde_json::Deserializer::from_slice(self.decoder.content);
        seed.deserialize(serde_path_to_error::Deserializer::new(&mut json, self.track))
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        self.decoder.tuple_variant(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        let mut json = serde_json::Deserializer::from_slice(object(self.decoder.content)?);
        let reader = serde_path_to_error::Deserializer::new(&mut json, self.track);
        de::Deserializer::deserialize_struct(reader, "", fields, visitor)
    }
}

struct Probe<'a>(&'a mut Option<&'static [&'static str]>);

impl<'de> de::Deserializer<'de> for Probe<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(de::Error::custom("a probe has no content"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        *self.0 = Some(variants);
        Err(de::Error::custom("a probe has no content"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}
