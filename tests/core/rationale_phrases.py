"""Phrases to check the gate's rules with: leaks, refusals, and what only resembles them. Written before the rules were revised."""

LEAKS = """
Since the label tells us this is an abnormal event, I looked for what stands out.
As the ground truth confirms, this is abnormal.
The prompt mentions that the class is abnormal, and the man's behaviour agrees.
The clip comes tagged abnormal, so the detail to look at is the door.
I was asked to explain why this counts as abnormal.
The expected answer here is abnormal.
Knowing that the video is abnormal, the bag takes on another meaning.
Because we know the outcome is abnormal, the pause is telling.
The provided category fits what the man does.
This lines up with the assigned class.
According to the annotation, the man means harm.
The metadata lists this recording under abnormal.
This is in agreement with the classification I was given.
The task states that the clip shows an abnormal event.
As instructed, I describe the clues for abnormal.
The hint makes it plain that something is wrong.
The clip is filed under abnormal, which explains the alarm.
We have been told beforehand that this is abnormal.
It is already established that the recording is abnormal.
My instructions say abnormal, and I see nothing against it.
The annotators marked this as abnormal.
The intended answer is clearly abnormal.
With the label in mind, the man's haste is a sign of guilt.
The correct label, as specified, is abnormal.
The dataset entry for this clip reads abnormal.
The question already gives the answer away.
The reference answer is abnormal, and the smoke supports it.
Per the instructions, the verdict has to be abnormal.
Given that the answer is abnormal, the man is probably a thief.
The video is supposed to show an abnormal event, and it does.
The user tells me that this is abnormal.
As noted in the task, something abnormal takes place.
This justifies the label that was supplied.
To reach the required answer, note the broken pane.
The target class is abnormal.
The solution was disclosed at the start: abnormal.
The true label is abnormal.
Having been informed that the event is abnormal, I pay attention to the gate.
The description of the task has it as abnormal.
What I was given says abnormal.
The gold annotation is abnormal.
It is listed in the data as abnormal.
The known class of this video is abnormal.
The category had been fixed in advance.
My job is to argue for abnormal.
The clip's official designation is abnormal.
The annotated event is abnormal, and I can see why.
This is consistent with the tag attached to the video.
I take the classification as a given.
The request itself says that it is abnormal.
It matches the label.
That is why the footage carries the label abnormal.
The evaluator wants to hear abnormal.
I start from the premise that it is abnormal, as told.
The answer has been revealed to be abnormal.
""".strip().splitlines()

NO_LEAKS = """
The label on the parcel is white.
A locomotive of an older class pulls the train.
The answer is abnormal because the man breaks the pane.
This fits the definition of abnormal.
There is a hint of smoke above the roof.
The tag on the dog's collar glints.
A man with a name tag opens the gate.
The price label hangs from the jacket.
The children come out of class.
Given the speed of the car, the driver cannot stop in time.
Given that the street is empty, nobody helps him.
The man is told to wait at the gate.
I conclude that the class is abnormal.
So the right class is abnormal.
The best label for this is abnormal.
A sign indicates that parking is not allowed.
The driver follows the instructions of the policeman.
He reads the instructions on the box.
The woman asks a question and the man answers.
The known risk of the crossing is the short view.
She knows the man and greets him.
The teacher marks the tests.
The car is marked with a stripe.
The road is marked by white lines.
He gives the woman a parcel.
The parcel was given to the neighbour.
All this points to the class abnormal.
As stated in the definition, somebody takes what is not his.
The class abnormal asks for damage or theft, and both are here.
The resident answers the door.
The door was assigned the number five.
The required force bends the frame.
He is supposed to wait at the red light.
The train is expected at noon.
A box labelled fragile stands on the step.
The officials confirm the result with a flag.
As the man told the child to stop, she stopped.
The correct lane is on the left.
The target on the wall is hit twice.
The user of the swing is a child.
He taps the data sheet on the machine.
The task of the man is to hold the ladder.
The evidence supports the class abnormal.
My answer is abnormal.
The result of the throw is a broken pane.
The decision of the referee comes fast.
I would assign it to the class abnormal.
It is known from the first seconds that the gate is open.
He hints at the door with a nod.
This matches what the class describes.
""".strip().splitlines()

REFUSALS = """
I'm unable to watch videos.
Without the footage I have nothing to go on.
I do not have the ability to see the clip.
Unfortunately, it is beyond me to judge this recording.
The file did not load, so I have nothing to describe.
I must refuse to comment on this.
My guidelines forbid me to analyse people.
There is not enough to see to make a decision.
I will have to guess.
The picture is far too dark to make any statement about the event.
Sorry, no video came with your message.
I am not comfortable answering this.
This request goes against my policy.
I honestly don't know what is going on here.
As a text model I can't process images.
It is impossible to determine which class applies.
I can only speculate about the content.
Could you upload the clip again?
Nothing can be made out in these frames.
The recording appears to be empty.
I have no access to the frames.
The available frames do not permit a conclusion.
I'd rather not decide.
I lack the information to answer.
I can't in good conscience label this person.
No judgement is possible from these images.
I do not feel able to choose between the classes.
The video could not be played.
The material is not sufficient for a classification.
I refuse to classify people.
Your video seems to be missing.
My training does not let me assess such clips.
""".strip().splitlines()

NO_REFUSALS = """
The man cannot open the door.
It is not possible to see the driver's face, but the car is red.
It is too dark to read the number plate.
I cannot see any smoke.
She is unable to lift the box.
The driver could not stop in time.
He refuses to leave.
The woman declines the parcel.
He apologises with a raised hand.
The car did not load the ferry's ramp.
I see no damage on the fence.
I do not see a weapon.
Nobody could help him.
There is no video camera above the door.
He has no access to the building.
The man does not know what to do and waits.
He cannot tell which key fits.
No train is on the other track.
The picture is dark, but the flames can be seen well.
It is unclear why he runs, but he runs with the bag.
The quality is poor, yet the fall is plain to see.
Whether he is the owner cannot be said, but he has a key.
What the two say cannot be heard.
I cannot make out the writing on the van.
Nothing is missing from the porch.
There is not enough room for the truck.
The gate does not allow cars to pass.
The light is too low to tell the colour of the coat.
Snow makes it hard to tell where the kerb is.
He must guess which way to go.
The guidelines of the crossing are white.
Please note that the light stays green.
I cannot say how old the man is, but he climbs the fence.
""".strip().splitlines()

MORE_LEAKS = """
Somebody before me has already decided on collision.
The folder this clip came from is called collision.
I would not question collision, as it comes from an expert.
Collision was the word that came with the clip.
We may take collision for granted here.
As I happen to know, it ends in a collision.
Looking for what makes this a collision, as demanded, I find a dent.
There can be no debate about the class, for it was handed down.
The key says collision.
All that is left for me is to back up collision.
The sought answer is collision.
Thanks to the label there is no doubt.
The file's name gives collision.
Collision is the word I was supplied with.
The clip arrived with the note collision.
Were it not for the label, I would hesitate.
The assignment of collision to this video is explained by the dent.
It says collision at the top of the task.
This agrees with what was announced.
I am to show that it is a collision.
They gave me collision to explain.
The label cannot be wrong, so I look for the dent.
Since the solution reads collision, the dent matters.
Having read that it is a collision, I look at the bumper.
My starting point is the fact that the video counts as collision.
""".strip().splitlines()

MORE_NO_LEAKS = """
The man is known to the family and is let in.
As the sign indicates, parking is allowed here.
The referee's decision is given with a flag.
From the start it is clear that the car is too fast.
She already knows the code and types it in.
The expected delivery arrives at noon.
I know of no other reading: normal.
The marked lane ends at the corner.
Somebody has told the boy to wait, and he waits.
I have given the gate a second look; it stays shut.
As required at a stop sign, the driver halts.
The class is decided by the dent: collision.
The description of normal flow is met.
The parcel has been assigned to the neighbour.
It is confirmed by the last frame that nobody is hurt.
The answer follows from the contact of the two cars.
We see a car that was recorded at night.
The correct side of the road is the left one.
He had been told beforehand where the key is.
The road sign reads 50, as stated on the lamp post.
The note on the door says that the family is away.
A man takes notes and follows the instructions on his phone.
In my view this is normal.
I looked at each frame before settling on normal.
The title on the van is in red letters.
This is what the class collision is about.
The information board above the platform is dark.
Everything that I see supports normal.
You can see the dent in the door.
As given by the clock, it is noon.
The user manual lies on the table.
""".strip().splitlines()
