"""A plan's pieces on the lane: each is answered by what is wanted next."""

from cython_ext import topics
from lanes.envelope import Kind
from lanes.pieces import Piece, Want
from tests.kit.lane_world import World, run, until
from tests.kit.nodes import NODE


def test_each_piece_of_a_plan_is_answered_by_what_is_wanted_next(tmp_path):
    async def scenario(world: World) -> None:
        world.start(world.far.run(), world.beats())
        await until(lambda: world.far.link and world.lane.connected)
        piece = Piece(bytes(32), b"p" * 32, 1000, 0, b"x" * 512)
        world.want = Want(b"p" * 32, 512)
        await world.far.say(Kind.CHUNK, piece.pack())
        await until(lambda: world.pieces)
        world.lane.ask()
        await until(lambda: world.far.wants == [world.want])
        assert Piece.unpack(world.pieces[0].body) == piece

        stated = len(world.far.states)
        world.want = None  # nothing is wanted any more: the state report names the plan that runs
        world.lane.ask()
        await until(lambda: len(world.far.states) > stated)
        assert world.far.wants == [Want(b"p" * 32, 512)]

    run(tmp_path, scenario)


def test_what_is_wanted_is_asked_for_again_after_a_cut(tmp_path):
    async def scenario(world: World) -> None:
        world.start(world.far.run(), world.beats())
        await until(lambda: world.far.link and world.lane.connected)
        world.want = Want(b"p" * 32, 512)
        world.broker.drop(topics.alarm_client(NODE))
        await until(lambda: not world.lane.connected)
        await until(lambda: world.far.wants == [world.want])

    run(tmp_path, scenario)
