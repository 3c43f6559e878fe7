//! The configuration of topics and groups.

use std::{collections::HashMap, ffi::CString, time::Duration};

use rdkafka_sys as sys;

use super::{
    handle::{Call, Handle, Owned, c_string, options, result_in},
    plain,
    raw_error::{RawError, text},
};

/// The configuration of a topic or a group: each property with its value.
pub(in crate::kafka) type Properties = HashMap<String, String>;

/// An answer for each topic or group that has one.
type Answers = Vec<(String, Result<Properties, RawError>)>;

/// The configuration of each topic, with the broker's defaults; each chunk of topics is a request, and all are in flight together.
/// Needs `DescribeConfigs` on the topics. A topic without an answer is left out.
pub(in crate::kafka) fn topic_configs(handle: Handle, chunks: &[&[&str]], limit: Duration) -> Result<Answers, RawError> {
    configs(handle, sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC, chunks, limit)
}

/// The configuration of a group, with the broker's defaults. Needs `DescribeConfigs` on the group.
pub(in crate::kafka) fn group_config(handle: Handle, group: &str, limit: Duration) -> Result<Properties, RawError> {
    let answers = configs(handle, sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_GROUP, &[&[group]], limit)?;
    let (_, answer) =
        answers.into_iter().find(|(name, _)| name == group).ok_or_else(|| RawError::invalid("no answer for the group"))?;
    answer
}

fn configs(handle: Handle, kind: sys::rd_kafka_ResourceType_t, chunks: &[&[&str]], limit: Duration) -> Result<Answers, RawError> {
    let call = Call::new(handle, limit)?;
    let options = options(handle, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, limit)?;
    for chunk in chunks {
        let names = chunk.iter().map(|name| c_string(name)).collect::<Result<Vec<CString>, RawError>>()?;
        // SAFETY: the names are valid during the call, which copies them.
        let resource = |name: &CString| unsafe {
            Owned::new(sys::rd_kafka_ConfigResource_new(kind, name.as_ptr()), sys::rd_kafka_ConfigResource_destroy)
        };
        let resources = names.iter().map(resource).collect::<Result<Vec<_>, RawError>>()?;
        let mut pointers: Vec<_> = resources.iter().map(Owned::get).collect();
        // SAFETY: every pointer is valid during the call, which copies what it needs; pointer and length belong together.
        unsafe {
            sys::rd_kafka_DescribeConfigs(handle.get(), pointers.as_mut_ptr(), pointers.len(), options.get(), call.queue());
        }
    }
    let mut answers = vec![];
    for _ in chunks {
        let event = call.answer()?;
        let mut count = 0;
        // SAFETY: what is borrowed from the event lives as long as the event does, to the end of this block.
        unsafe {
            let result = result_in(&event, sys::rd_kafka_event_DescribeConfigs_result)?;
            let found = sys::rd_kafka_DescribeConfigs_result_resources(result, &raw mut count);
            let count = if found.is_null() { 0 } else { count };
            answers.extend((0..count).map(|index| described(*found.add(index))));
        }
    }
    Ok(answers)
}

/// The name and the properties of a topic or a group.
///
/// # Safety
/// `resource` is a valid resource that lives during the call.
unsafe fn described(resource: *const sys::rd_kafka_ConfigResource_t) -> (String, Result<Properties, RawError>) {
    let mut count = 0;
    // SAFETY: by the contract of this function; the list and its length belong together, and the entries live as long as the
    // resource.
    unsafe {
        let name = text(sys::rd_kafka_ConfigResource_name(resource));
        let code = plain::rd_kafka_ConfigResource_error(resource.cast());
        if code != 0 {
            return (name, Err(RawError { code, text: text(sys::rd_kafka_ConfigResource_error_string(resource)) }));
        }
        let entries = sys::rd_kafka_ConfigResource_configs(resource, &raw mut count);
        let count = if entries.is_null() { 0 } else { count };
        let property = |index| {
            let entry = *entries.add(index);
            (text(sys::rd_kafka_ConfigEntry_name(entry)), text(sys::rd_kafka_ConfigEntry_value(entry)))
        };
        (name, Ok((0..count).map(property).collect()))
    }
}
