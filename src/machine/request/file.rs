//! PURE: the file of `spec.resetsFrom`, as `kafka-consumer-groups --export` prints it and `--from-file` reads it: a line for each
//! partition, `topic,partition,offset`, or `group,topic,partition,offset` for several groups.
//!
//! | in the file | Kafka's tool (Jackson, line by line) | here |
//! |---|---|---|
//! | values in quotes, `""` in them | read | read |
//! | Windows line ends, an empty last line | read | read |
//! | a byte order mark, other empty lines | refused | ignored |
//! | a header, a comment | refused | refused |
//! | one partition twice | the last line counts | refused |
//! | a negative offset | the start of the log | refused |
//! | lines of other groups | reset too | ignored |

use std::collections::HashMap;

use super::{Entry, Goal, Partitions, Scope, validate::is_topic};
use crate::api::MAX_PARTITIONS;

/// How many wrong lines a message names.
const NAMED: usize = 5;

/// The entries of a file, one for each line about the group, with the line's number.
///
/// # Errors
/// The lines that are wrong, each with what is wrong and what to write instead.
pub fn parse_file(text: &str, group: &str) -> Result<Vec<(usize, Entry)>, String> {
    let (mut entries, mut first_of, mut wrong, mut columns) = (vec![], HashMap::new(), vec![], None);
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().map(|line| line.trim_end_matches('\r')).enumerate();
    for (number, line) in lines.map(|(index, line)| (index + 1, line)).filter(|(_, line)| !line.trim().is_empty()) {
        match parse_line(line, &mut columns) {
            Ok((Some(of), ..)) if of != group => {}
            Ok((_, topic, partition, offset)) => {
                if let Some(first) = first_of.insert((topic.clone(), partition), number) {
                    wrong.push(format!(
                        "line {number}: partition {partition} of topic {topic} is in line {first} already; leave one of the two lines out"
                    ));
                } else {
                    let (scope, partitions) = (Scope::Topic(topic), Partitions::one(partition));
                    entries.push((number, Entry { scope, partitions, goal: Goal::Offset(offset) }));
                }
            }
            Err(why) => wrong.push(format!("line {number}: {why}")),
        }
    }
    if !wrong.is_empty() {
        let more = wrong.len().saturating_sub(NAMED);
        wrong.truncate(NAMED);
        if more > 0 {
            wrong.push(format!("and more wrong lines: {more}"));
        }
        return Err(wrong.join("; "));
    }
    if entries.is_empty() {
        return Err(match columns {
            None => "it has no lines; write one for each partition, such as orders,0,1250".to_owned(),
            Some(_) => {
                format!("it has no line about group {group}; each line must begin with the group, or have no group at all")
            }
        });
    }
    if entries.len() > MAX_PARTITIONS {
        return Err(format!(
            "it has {} partitions, more than the {MAX_PARTITIONS} of one OffsetReset; split it into several",
            entries.len()
        ));
    }
    Ok(entries)
}

type Line = (Option<String>, String, i32, i64);

fn parse_line(line: &str, columns: &mut Option<usize>) -> Result<Line, String> {
    if line.trim_start().starts_with('#') {
        return Err("comments are not allowed; delete the line".to_owned());
    }
    let mut fields = fields(line)?;
    let expected = *columns.get_or_insert(fields.len());
    if !matches!(fields.len(), 3 | 4) {
        let values = values(fields.len());
        return Err(format!("it has {values}; write topic,partition,offset or group,topic,partition,offset"));
    }
    if fields.len() != expected {
        let values = values(fields.len());
        return Err(format!("it has {values}, and the first line has {expected}; write all lines with or without the group"));
    }
    let group = (fields.len() == 4).then(|| fields.remove(0));
    let [topic, partition, offset] = <[String; 3]>::try_from(fields).map_err(|_| "it cannot be read".to_owned())?;
    if !is_topic(&topic) {
        return Err(format!("{topic:?} is not the name of a topic; it has letters, digits, '.', '_' and '-'"));
    }
    let number = |text: &str| text.trim().parse::<i64>().ok().filter(|number| *number >= 0);
    let partition = number(&partition)
        .and_then(|number| i32::try_from(number).ok())
        .ok_or_else(|| format!("{partition:?} is not a partition; write its number from 0, and leave a header out"))?;
    let offset = number(&offset).ok_or_else(|| {
        format!("{offset:?} is not an offset; write a number from 0 (the start and the end of the log need spec.resets)")
    })?;
    Ok((group, topic, partition, offset))
}

fn values(count: usize) -> String {
    if count == 1 { "1 value".to_owned() } else { format!("{count} values") }
}

/// The values of a line. A value in quotes may have commas, and two quotes for one.
fn fields(line: &str) -> Result<Vec<String>, String> {
    let (mut fields, mut rest) = (vec![], line);
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut value = String::new();
            let mut left = quoted;
            loop {
                let end = left.find('"').ok_or("a quote is not closed; write \" at the end of the value, on the same line")?;
                value.push_str(&left[..end]);
                left = &left[end + 1..];
                match left.strip_prefix('"') {
                    Some(more) => {
                        value.push('"');
                        left = more;
                    }
                    None => break,
                }
            }
            fields.push(value);
            rest = match left.strip_prefix(',') {
                Some(next) => next,
                None if left.trim().is_empty() => return Ok(fields),
                None => return Err("text follows after a closing quote; write a comma there".to_owned()),
            };
        } else if let Some((value, next)) = rest.split_once(',') {
            fields.push(value.to_owned());
            rest = next;
        } else {
            fields.push(rest.to_owned());
            return Ok(fields);
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::as_the_tool_prints_it("orders,0,10\norders,1,20\n")]
    #[case::with_the_group("g,orders,0,10\ng,orders,1,20\n")]
    #[case::with_other_groups("other,orders,0,1\ng,orders,0,10\ng,orders,1,20\nother,payments,0,5\n")]
    #[case::in_quotes("\"orders\",\"0\",\"10\"\n\"orders\",1,20")]
    #[case::windows_line_ends("orders,0,10\r\norders,1,20\r\n")]
    #[case::a_byte_order_mark("\u{feff}orders,0,10\norders,1,20")]
    #[case::empty_lines("\n\norders,0,10\n \norders,1,20\n\n")]
    #[case::spaces_around_numbers("orders, 0, 10\norders,1 ,20 ")]
    fn a_file_is_read_as_kafkas_tool_writes_it(#[case] text: &str) {
        let entry = |partition, offset| Entry {
            scope: Scope::Topic("orders".into()),
            partitions: Partitions::one(partition),
            goal: Goal::Offset(offset),
        };
        let entries = parse_file(text, "g").map(|lines| lines.into_iter().map(|(_, entry)| entry).collect());
        assert_eq!(entries, Ok(vec![entry(0, 10), entry(1, 20)]));
    }

    #[test]
    fn the_lines_are_counted_as_an_editor_does() {
        let lines = parse_file("\u{feff}other,orders,0,1\r\n\r\ng,orders,0,10\r\ng,orders,1,20", "g").unwrap();
        assert_eq!(lines.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [3, 4]);
    }

    #[test]
    fn the_name_of_a_group_may_have_commas_and_quotes() {
        assert_eq!(parse_file("\"a \"\"b\"\", c\",orders,0,10", "a \"b\", c").unwrap().len(), 1);
    }

    #[rstest]
    #[case::empty("", "it has no lines; write one for each partition, such as orders,0,1250")]
    #[case::of_another_group(
        "h,orders,0,1",
        "it has no line about group g; each line must begin with the group, or have no group at all"
    )]
    #[case::a_header(
        "topic,partition,offset\norders,0,1",
        "line 1: \"partition\" is not a partition; write its number from 0, and leave a header out"
    )]
    #[case::a_comment("orders,0,1\n# later\n", "line 2: comments are not allowed; delete the line")]
    #[case::two_values("orders,0", "line 1: it has 2 values; write topic,partition,offset or group,topic,partition,offset")]
    #[case::mixed(
        "orders,0,1\ng,orders,1,1",
        "line 2: it has 4 values, and the first line has 3; write all lines with or without the group"
    )]
    #[case::twice(
        "orders,0,1\norders,0,1",
        "line 2: partition 0 of topic orders is in line 1 already; leave one of the two lines out"
    )]
    #[case::negative(
        "\norders,0,-1",
        "line 2: \"-1\" is not an offset; write a number from 0 (the start and the end of the log need spec.resets)"
    )]
    #[case::too_large(
        "orders,0,9223372036854775808",
        "line 1: \"9223372036854775808\" is not an offset; write a number from 0 (the start and the end of the log need spec.resets)"
    )]
    #[case::no_partition(
        "orders,2147483648,1",
        "line 1: \"2147483648\" is not a partition; write its number from 0, and leave a header out"
    )]
    #[case::no_topic("or ders,0,1", "line 1: \"or ders\" is not the name of a topic; it has letters, digits, '.', '_' and '-'")]
    #[case::an_open_quote("\"orders,0,1", "line 1: a quote is not closed; write \" at the end of the value, on the same line")]
    #[case::text_after_a_quote("\"orders\"x,0,1", "line 1: text follows after a closing quote; write a comma there")]
    fn a_wrong_line_is_named_with_what_to_write(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(parse_file(text, "g"), Err(expected.to_owned()));
    }

    #[test]
    fn many_wrong_lines_are_named_up_to_a_bound_and_so_are_partitions() {
        let why = parse_file(&"x\n".repeat(1_000), "g").unwrap_err();
        assert!(why.contains("line 5: ") && !why.contains("line 6: ") && why.ends_with("and more wrong lines: 995"), "{why}");
        let lines = |count: usize| (0..count).map(|number| format!("t,{number},1")).collect::<Vec<_>>().join("\n");
        assert_eq!(parse_file(&lines(MAX_PARTITIONS), "g").unwrap().len(), MAX_PARTITIONS);
        assert!(parse_file(&lines(MAX_PARTITIONS + 1), "g").unwrap_err().contains("split it into several"));
    }
}
