"""Which classes a sentence concludes or rejects by name, in many wordings."""

import pytest

from rbft_ray.core.rationale_stance import stance

CLASSES = ("normal", "collision", "near miss", "pouring")

REJECTED = """
There is nothing normal about this.
Normal it is not.
This has nothing to do with normal.
This does not deserve to be called normal.
This is everything but normal.
Normal can be struck off.
Normal is not an option.
The class normal does not apply here.
That is not what normal means.
Nothing about it is normal.
Normal does not cover this.
I cannot call this normal.
It would be wrong to speak of normal.
Calling it normal would be absurd.
To call it normal would ignore the smoke.
Normal is therefore excluded.
This goes beyond normal.
That speaks against normal.
If this were normal, the door would be whole.
It is hardly normal.
It no longer counts as normal.
This is the very opposite of normal.
It fails to meet normal.
What we see is incompatible with normal.
Nobody could take this for normal.
So normal falls away.
Normal is ruled out by the flames.
One cannot speak of normal here.
It can't possibly be normal.
""".strip().splitlines()

AFFIRMED = """
This has to be a collision.
What we have here is a collision.
That's a collision.
Collision it is.
All of which makes it a collision.
That is why collision is right.
The video is to be classed as collision.
I settle for collision.
Everything speaks for a collision.
The only fitting class is collision.
So we are dealing with a collision.
It must be called a collision.
The verdict is therefore collision.
I can only conclude that it is a collision.
This amounts to a collision.
Collision describes it best.
Collision is the right word.
Anyone would call this a collision.
The evidence leaves only collision.
Hence the class collision.
""".strip().splitlines()

NEITHER = """
A normal visit ends at the door.
The street is as busy as on a normal day.
There was almost a collision.
It looks like a collision at first.
Whether this is a collision remains open for a moment.
The car is driven in a normal way.
The man stops pouring and looks up.
After pouring, the jug is put down.
There is nothing that is not normal.
The normal speed here is 50.
It could have been a collision.
They are pouring water.
""".strip().splitlines()


@pytest.mark.parametrize("text", REJECTED)
def test_a_class_is_rejected(text: str) -> None:
    assert "normal" in stance(text, CLASSES).rejected


@pytest.mark.parametrize("text", AFFIRMED)
def test_a_class_is_concluded(text: str) -> None:
    assert "collision" in stance(text, CLASSES).affirmed


@pytest.mark.parametrize("text", NEITHER)
def test_a_name_in_another_use_is_no_stance(text: str) -> None:
    assert stance(text, CLASSES) == ({}, {})
