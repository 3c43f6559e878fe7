//! Functions of librdkafka, declared with plain integers: a newer broker may answer with a code
//! that the generated enum lacks, and an enum with such a value is undefined behaviour.
#![allow(clashing_extern_declarations, reason = "same functions, with integers where the bindings have enums")]

use std::ffi::{c_char, c_void};

use rdkafka_sys as sys;

unsafe extern "C" {
    pub fn rd_kafka_err2str(code: i32) -> *const c_char;
    pub fn rd_kafka_error_code(error: *const c_void) -> i32;
    pub fn rd_kafka_metadata(
        client: *mut c_void,
        all_topics: i32,
        topic: *mut c_void,
        metadata: *mut *const sys::rd_kafka_metadata,
        millis: i32,
    ) -> i32;
    pub fn rd_kafka_ConfigResource_error(resource: *const c_void) -> i32;
    pub fn rd_kafka_event_error(event: *mut c_void) -> i32;
    pub fn rd_kafka_ConsumerGroupDescription_state(group: *const c_void) -> i32;
    pub fn rd_kafka_ConsumerGroupDescription_type(group: *const c_void) -> i32;
    pub fn rd_kafka_ConsumerGroupDescription_authorized_operations(group: *const c_void, count: *mut usize) -> *const i32;
    pub fn rd_kafka_TopicDescription_authorized_operations(topic: *const c_void, count: *mut usize) -> *const i32;
}
