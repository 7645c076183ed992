"""What runs inside the environments of the peers. These modules import no multum: it need not be installable there."""
