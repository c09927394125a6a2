//! The one list of capabilities. Every crate makes its enums, its dispatch and its tables of names from it.

/// Hands the list of all capabilities to a macro of the caller's, which must stand before the call.
///
/// An entry is a capability: the name of its module, which is the same in every crate, and its kinds of aggregate. A kind is
/// its variant's name in enums, the category of its streams (lower-case letters only; part of stored data: add, never
/// rename), and the module that holds what belongs to this kind: the capability's own, or one below it where a capability
/// has several (`in leave::record`). The capabilities of `platform` write to the platform's own log, those of `tenants` to
/// the log of their tenant.
///
/// A capability is added by its entry here and by one `mod` line in each crate; the compiler says what its modules lack.
#[macro_export]
macro_rules! capabilities {
    ($callback:path $(, $($arguments:tt)*)?) => {
        $callback! {
            $($($arguments)*)?
            platform [
                tenancy {
                    /// A tenant in the platform's own log; the stream's id is the tenant's.
                    Tenancy = "tenancy" in tenancy;
                }
            ]
            tenants [
                organization {
                    /// A tenant's departments, locations and jobs; one stream, whose id is the tenant's.
                    Organization = "organization" in organization;
                    /// A tenant's work schedules and holiday calendars; one stream, whose id is the tenant's.
                    WorkCalendar = "workcalendar" in organization::calendar;
                }
                employee {
                    /// One person's employments; the stream's id is the employee's.
                    Employee = "employee" in employee;
                    /// How much and when one person works; the stream's id is the employee's.
                    WorkingTime = "workingtime" in employee::working_time;
                }
                leave {
                    /// A tenant's kinds of leave and its policies; one stream, whose id is the tenant's.
                    LeaveTerms = "leaveterms" in leave::terms;
                    /// One person's leave of all kinds; the stream's id is the employee's.
                    LeaveRecord = "leaverecord" in leave::record;
                }
            ]
        }
    };
}

/// Hands all kinds of aggregate, of whichever capability, to a macro of the caller's: `Employee = "employee" in employee;`.
#[macro_export]
macro_rules! kinds {
    ($callback:path) => { $crate::capabilities! { $crate::kinds, @flat $callback, } };
    (@flat $callback:path,
        platform [$($platform:ident { $($platform_kinds:tt)* })*]
        tenants [$($tenants:ident { $($tenants_kinds:tt)* })*]
    ) => { $callback! { $($($platform_kinds)*)* $($($tenants_kinds)*)* } };
}

macro_rules! names {
    (platform [$($platform:ident { $($platform_kinds:tt)* })*] tenants [$($tenants:ident { $($tenants_kinds:tt)* })*]) => {
        /// The names of all capabilities, in reading order.
        pub const CAPABILITIES: &[&str] = &[$(stringify!($platform),)* $(stringify!($tenants),)*];
    };
}
capabilities!(names);
