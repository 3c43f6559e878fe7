//! Asks the broker whether it serves consumer groups yet. A port that is open says little: a fresh broker first creates
//! `__consumer_offsets`, and answers `NOT_COORDINATOR` until then. Two requests of Kafka's protocol, in their oldest versions and
//! written by hand: Kafka's own tools would take a second to start a virtual machine for each look.

use std::{
    io::{Error, ErrorKind, Read, Result, Write},
    net::TcpStream,
    time::Duration,
};

const FIND_COORDINATOR: i16 = 10;
const DESCRIBE_GROUPS: i16 = 15;

/// Four groups whose names hash to the four partitions of `__consumer_offsets`, so that each one's coordinator is asked for.
const GROUPS: [&str; 4] = ["a", "b", "c", "d"];

/// An answer is a few dozen bytes; a length beyond this is not one.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Whether every group has a coordinator that has loaded its state. The first question makes the broker create the topic.
/// An error means that nobody answers, or not in Kafka's protocol.
pub fn serves_groups(address: &str) -> Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    for group in GROUPS {
        let found = ask(&mut stream, FIND_COORDINATOR, &string(group))?;
        if code_at(&found, 0)? != 0 {
            return Ok(false);
        }
        let described = ask(&mut stream, DESCRIBE_GROUPS, &[&1_i32.to_be_bytes()[..], &string(group)].concat())?;
        // After the number of groups, which is one.
        if code_at(&described, 4)? != 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Sends a request in version 0; the answer's body.
fn ask(stream: &mut TcpStream, api: i16, body: &[u8]) -> Result<Vec<u8>> {
    stream.write_all(&request(api, body))?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(i32::from_be_bytes(length)).ok().filter(|length| (4..=LONGEST_ANSWER).contains(length));
    let mut answer = vec![0; length.ok_or_else(|| Error::new(ErrorKind::InvalidData, "not an answer of Kafka's"))?];
    stream.read_exact(&mut answer)?;
    // Without the correlation id: one request at a time needs none.
    Ok(answer.split_off(4))
}

/// Length, api, version 0, correlation id 0, no client id, body.
fn request(api: i16, body: &[u8]) -> Vec<u8> {
    let header = [&api.to_be_bytes()[..], &0_i16.to_be_bytes(), &0_i32.to_be_bytes(), &(-1_i16).to_be_bytes()].concat();
    let length = i32::try_from(header.len() + body.len()).unwrap_or(i32::MAX);
    [&length.to_be_bytes()[..], &header, body].concat()
}

fn string(text: &str) -> Vec<u8> {
    let length = i16::try_from(text.len()).unwrap_or(i16::MAX);
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

fn code_at(answer: &[u8], at: usize) -> Result<i16> {
    let bytes = answer.get(at..at + 2).ok_or_else(|| Error::new(ErrorKind::UnexpectedEof, "the answer is too short"))?;
    Ok(i16::from_be_bytes([bytes[0], bytes[1]]))
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    /// A broker that gives these error codes, one answer each.
    fn broker(codes: &'static [i16]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for code in codes {
                let mut length = [0; 4];
                stream.read_exact(&mut length).unwrap();
                let mut request = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
                stream.read_exact(&mut request).unwrap();
                let code = code.to_be_bytes();
                let body = if request[1] == 15 { [&[0, 0, 0, 1][..], &code].concat() } else { code.to_vec() };
                stream.write_all(&i32::try_from(body.len() + 4).unwrap().to_be_bytes()).unwrap();
                stream.write_all(&[0; 4]).unwrap();
                stream.write_all(&body).unwrap();
            }
        });
        address
    }

    #[test]
    fn the_four_groups_meet_the_four_partitions() {
        let mut partitions: Vec<u8> = GROUPS.iter().map(|group| group.as_bytes()[0] % 4).collect();
        partitions.sort_unstable();
        assert_eq!(partitions, [0, 1, 2, 3]);
    }

    #[test]
    fn groups_are_served_when_every_coordinator_has_loaded() {
        assert!(serves_groups(&broker(&[0; 8])).unwrap());
        assert!(!serves_groups(&broker(&[15])).unwrap(), "no coordinator yet");
        assert!(!serves_groups(&broker(&[0, 0, 0, 14])).unwrap(), "the second one still loads");
        assert!(serves_groups(&broker(&[0, 0])).is_err(), "it has gone away");
    }
}
