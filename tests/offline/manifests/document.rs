//! The documents of a manifest as text, so that comments stay.

/// One YAML document.
#[derive(Clone, Debug)]
pub struct Document {
    pub text: String,
}

/// The documents of a manifest. A part that has comments only belongs to the document after it.
pub fn documents(text: &str) -> Vec<Document> {
    let mut comments = String::new();
    let mut documents = vec![];
    for part in text.split("\n---\n") {
        let part = part.trim_matches('\n');
        if part.lines().all(|line| line.is_empty() || line.starts_with('#')) {
            comments = format!("{comments}{part}\n#\n");
        } else {
            documents.push(Document { text: format!("{comments}{part}\n") });
            comments.clear();
        }
    }
    assert!(comments.is_empty(), "a manifest ends with comments: {comments}");
    documents
}

impl Document {
    /// The value of a line such as `kind: Role`, with its indentation.
    fn value(&self, key: &str) -> &str {
        let start = format!("{key}: ");
        self.text.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_else(|| panic!("no {key} in {}", self.text))
    }

    pub fn kind(&self) -> &str {
        self.value("kind")
    }

    pub fn name(&self) -> &str {
        self.value("  name")
    }

    /// Whether its kind is in a namespace.
    fn is_namespaced(&self) -> bool {
        match self.kind() {
            "ServiceAccount" | "Role" | "RoleBinding" | "Deployment" | "PodDisruptionBudget" | "Service" => true,
            "Namespace"
            | "CustomResourceDefinition"
            | "ClusterRole"
            | "ClusterRoleBinding"
            | "MutatingAdmissionPolicy"
            | "MutatingAdmissionPolicyBinding"
            | "ValidatingAdmissionPolicy"
            | "ValidatingAdmissionPolicyBinding" => false,
            kind => panic!("is a {kind} in a namespace? {}", self.text),
        }
    }

    /// Adds lines behind the object's name.
    pub fn with_metadata(mut self, lines: &str) -> Self {
        let name = format!("\nmetadata:\n  name: {}\n", self.name());
        assert!(self.text.contains(&name), "no name where it is expected in {}", self.text);
        self.text = self.text.replacen(&name, &format!("{name}{lines}"), 1);
        self
    }

    /// Puts the object, and what it names, into a namespace instead of the one that `deploy/` names.
    pub fn in_namespace(mut self, namespace: &str) -> Self {
        self.text = self.text.replace("offset-reset-system", namespace);
        if self.is_namespaced() { self.with_metadata(&format!("  namespace: {namespace}\n")) } else { self }
    }

    pub fn replaced(mut self, from: &str, to: &str) -> Self {
        assert!(self.text.contains(from), "no {from:?} in {}", self.text);
        self.text = self.text.replace(from, to);
        self
    }
}
