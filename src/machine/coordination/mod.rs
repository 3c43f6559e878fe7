//! Resets beside others: groups are served one after the other, workloads together; and what an
//! earlier run or an autoscaler left.

pub mod hold;
pub mod queue;
pub mod receipt;
pub mod scaled_object;
