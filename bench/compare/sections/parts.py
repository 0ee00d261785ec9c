"""Instructions of a request as shipped, and without one or the other of what the gateway does by default."""

from contenders import SHIPPED
from instructions import count_of

SIZES = ("2 KB", "200 KB")
# The repairs that look into resources, and those of the Bundle around them.
IN_RESOURCES = (
    "empty_members misplaced_objects numbers_for_text nameless_extensions oid_systems absent_reasons prefixed_codes narratives "
    "value_set_status groups"
).split()
OF_BUNDLES = ("bundles", "links")


def _without_repairs(names):
    def change(config):
        config["sites"]["default"].setdefault("repairs", {}).update(dict.fromkeys(names, False))

    return change


def _without_audit(config):
    del config["audit"]



def _without_access_lines(config):
    config["log"]["level"] = "warn"


CASES = {
    "as shipped": (),
    "without the audit trail": (_without_audit,),
    "without repairs inside resources": (_without_repairs(IN_RESOURCES),),
    "without repairs of Bundles and links": (_without_repairs(OF_BUNDLES),),
    "without ETags": (_without_repairs(["validators"]),),
    "without access lines": (_without_access_lines,),
    "without the audit trail, these repairs and ETags": (_without_audit, _without_repairs([*IN_RESOURCES, *OF_BUNDLES, "validators"])),
}


def measure(bench):
    figures = {f"instructions of parts, {size}": {} for size in SIZES}
    for name, changes in CASES.items():

        def change(config, changes=changes):
            for each in changes:
                each(config)

        for size, found in count_of(bench.place, SHIPPED.start, SIZES, change).items():
            figures[f"instructions of parts, {size}"][name] = [found["total"]]
    return figures
