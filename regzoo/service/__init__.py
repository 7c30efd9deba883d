"""The local web service: a catalogue of the models, and a page that answers for a sequence, a locus or variants."""
